/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Long short-term memory: the state's units are bytes, then the bytes to come, then 16-bit cells. */
NN_KERNEL void nn_lstm(const nn_recurrent_layer *layer, int32_t steps, const int8_t *input, int8_t *output, int8_t *state)
{
    const int32_t units = layer->units;
    int8_t *next = state + units;

    for (int32_t step = 0; step < steps; ++step) {
        const int32_t place = layer->reverse ? steps - 1 - step : step;
        const int8_t *x = input + place * layer->features;
        int8_t *wide = next + units;

        for (int32_t unit = 0; unit < units; ++unit, wide += 2) {
            const int32_t in = nn_sigmoid(nn_gate(layer, unit, x, state));
            const int32_t keep = nn_sigmoid(nn_gate(layer, units + unit, x, state));
            const int32_t made = nn_tanh(nn_gate(layer, 2 * units + unit, x, state));
            const int32_t out = nn_sigmoid(nn_gate(layer, 3 * units + unit, x, state));
            const int32_t cell = nn_clipped((keep * nn_wide(wide) + ((in * made) >> 4) + (1 << 14)) >> 15);
            const int32_t value = (out * nn_tanh(cell) + (1 << 14)) >> 15;

            nn_set_wide(wide, cell);
            next[unit] = nn_clamped((value + 128) >> 8, INT8_MIN, INT8_MAX);
        }
        memcpy(state, next, (size_t)units);
        memcpy(layer->last ? output : output + place * units, next, (size_t)units);
    }
}
