/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Gated recurrent unit: the state's units are bytes, then the bytes to come, then 16-bit numbers. */
NN_KERNEL void nn_gru(const nn_recurrent_layer *layer, int32_t steps, const int8_t *input, int8_t *output, int8_t *state)
{
    const int32_t units = layer->units;
    int8_t *next = state + units;

    for (int32_t step = 0; step < steps; ++step) {
        const int32_t place = layer->reverse ? steps - 1 - step : step;
        const int8_t *x = input + place * layer->features;
        int8_t *wide = next + units;

        for (int32_t unit = 0; unit < units; ++unit, wide += 2) {
            const int32_t reset = nn_sigmoid(nn_gate(layer, unit, x, state));
            const int32_t update = nn_sigmoid(nn_gate(layer, units + unit, x, state));
            const int32_t kept = nn_clipped(nn_gate_of_state(layer, 2 * units + unit, state));
            const int32_t made =
                nn_tanh(nn_gate_of_input(layer, 2 * units + unit, x) + ((reset * kept + (1 << 14)) >> 15));
            const int32_t value = made + ((update * (nn_wide(wide) - made) + (1 << 14)) >> 15);

            nn_set_wide(wide, value);
            next[unit] = nn_clamped((value + 128) >> 8, INT8_MIN, INT8_MAX);
        }
        memcpy(state, next, (size_t)units);
        memcpy(layer->last ? output : output + place * units, next, (size_t)units);
    }
}
