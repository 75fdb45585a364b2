/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* The channels of one position. `operation` is a constant of each call, so that the loop holds no decision. */
static inline int8_t *channels_of(const nn_pair_layer *layer, const int operation, const int8_t *first, const int8_t *second,
                                  int8_t *output)
{
    const int32_t m0 = layer->multiplier[0], m1 = layer->multiplier[1], z0 = layer->zero_in[0], z1 = layer->zero_in[1];
    const int32_t s0 = layer->step[0][2], s1 = layer->step[1][2];
    const int32_t offset = layer->offset, shift = layer->shift, zero = layer->zero, low = layer->low, high = layer->high;

    for (int8_t *end = output + layer->channels; output != end; first += s0, second += s1) {
        const int32_t a = (*first - z0) * m0, b = (*second - z1) * m1;
        int32_t value;
        if (operation == NN_SUM) {
            value = a + b;
        } else if (operation == NN_LARGER) {
            value = a > b ? a : b;
        } else {
            value = a < b ? a : b;
        }
        *output++ = nn_clamped(((value + offset) >> shift) + zero, low, high);
    }
    return output;
}

/* Sum, difference (a negative multiplier), maximum or minimum. */
NN_KERNEL void nn_combine(const nn_pair_layer *layer, const int8_t *first, const int8_t *second, int8_t *output)
{
    for (int32_t row = 0; row < layer->rows; ++row) {
        const int8_t *a = first + row * layer->step[0][0], *b = second + row * layer->step[1][0];
        for (int32_t column = layer->columns; column > 0; --column) {
            if (layer->operation == NN_SUM) {
                output = channels_of(layer, NN_SUM, a, b, output);
            } else if (layer->operation == NN_LARGER) {
                output = channels_of(layer, NN_LARGER, a, b, output);
            } else {
                output = channels_of(layer, NN_SMALLER, a, b, output);
            }
            a += layer->step[0][1];
            b += layer->step[1][1];
        }
    }
}
