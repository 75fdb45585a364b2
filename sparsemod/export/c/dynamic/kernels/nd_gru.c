/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

/* Row number `row` of the weights on one step's input, and on the state. */
static float of_input(const nd_recurrent_layer *layer, int32_t row, const int8_t *x, nd_range range)
{
    const int8_t *w = layer->weights + row * (layer->features + layer->units);
    const float value = nd_number(nd_dot(w, x, layer->features, range.zero));
    return nd_sum(nd_product(value, nd_product(range.scale, layer->scale[row])), layer->bias[row]);
}

static float of_state(const nd_recurrent_layer *layer, int32_t row, const int8_t *h, nd_range range)
{
    const int8_t *w = layer->weights + row * (layer->features + layer->units) + layer->features;
    const float value = nd_number(nd_dot(w, h, layer->units, range.zero));
    return nd_sum(nd_product(value, nd_product(range.scale, layer->state_scale[row])), layer->state_bias[row]);
}

/* Gated recurrent unit: the scratch holds the state, then the state and the input of a step as int8. */
NN_KERNEL void nd_gru(const nd_recurrent_layer *layer, int32_t steps, const float *input, float *output, int8_t *scratch)
{
    const int32_t units = layer->units;
    float *state = (float *)(void *)scratch;
    int8_t *h = scratch + 4 * units, *x = h + units;

    for (int32_t step = 0; step < steps; ++step) {
        const int32_t place = layer->reverse ? steps - 1 - step : step;
        const float *from = input + place * layer->features;
        const nd_range in = nd_range_of(layer->features, from), kept = nd_range_of(units, state);

        nd_quantize(layer->features, from, in, x);
        nd_quantize(units, state, kept, h);
        for (int32_t unit = 0; unit < units; ++unit) {
            const float reset = nd_sigmoid(nd_sum(of_input(layer, unit, x, in), of_state(layer, unit, h, kept)));
            const int32_t second = units + unit, third = 2 * units + unit;
            const float update = nd_sigmoid(nd_sum(of_input(layer, second, x, in), of_state(layer, second, h, kept)));
            const float part = nd_product(reset, of_state(layer, third, h, kept));
            const float made = nd_tanh(nd_sum(of_input(layer, third, x, in), part));
            state[unit] = nd_sum(made, nd_product(update, nd_difference(state[unit], made)));
        }
        memcpy(layer->last ? output : output + place * units, state, (size_t)units * sizeof *state);
    }
}
