/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

/* Gate number `row` of one step. */
static float gate(const nd_recurrent_layer *layer, int32_t row, const int8_t *x, nd_range in, const int8_t *h, nd_range kept)
{
    const int8_t *w = layer->weights + row * (layer->features + layer->units);
    const float of_input = nd_number(nd_dot(w, x, layer->features, in.zero));
    const float of_state = nd_number(nd_dot(w + layer->features, h, layer->units, kept.zero));
    const float first = nd_product(of_input, nd_product(in.scale, layer->scale[row]));
    const float second = nd_product(of_state, nd_product(kept.scale, layer->state_scale[row]));
    return nd_sum(nd_sum(first, layer->bias[row]), nd_sum(second, layer->state_bias[row]));
}

/* Long short-term memory: the scratch holds the state and the cells, then the state and the input of a step as int8. */
NN_KERNEL void nd_lstm(const nd_recurrent_layer *layer, int32_t steps, const float *input, float *output, int8_t *scratch)
{
    const int32_t units = layer->units;
    float *state = (float *)(void *)scratch, *cells = state + units;
    int8_t *h = scratch + 8 * units, *x = h + units;

    for (int32_t step = 0; step < steps; ++step) {
        const int32_t place = layer->reverse ? steps - 1 - step : step;
        const float *from = input + place * layer->features;
        const nd_range in = nd_range_of(layer->features, from), kept = nd_range_of(units, state);

        nd_quantize(layer->features, from, in, x);
        nd_quantize(units, state, kept, h);
        for (int32_t unit = 0; unit < units; ++unit) {
            const float entry = nd_sigmoid(gate(layer, unit, x, in, h, kept));
            const float forget = nd_sigmoid(gate(layer, units + unit, x, in, h, kept));
            const float made = nd_tanh(gate(layer, 2 * units + unit, x, in, h, kept));
            const float out = nd_sigmoid(gate(layer, 3 * units + unit, x, in, h, kept));
            cells[unit] = nd_sum(nd_product(forget, cells[unit]), nd_product(entry, made));
            state[unit] = nd_product(out, nd_tanh(cells[unit]));
        }
        memcpy(layer->last ? output : output + place * units, state, (size_t)units * sizeof *state);
    }
}
