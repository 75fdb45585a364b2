/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

NN_KERNEL void nn_multiply(const nn_pair_layer *layer, const int8_t *first, const int8_t *second, int8_t *output)
{
    const int32_t z0 = layer->zero_in[0], z1 = layer->zero_in[1], s0 = layer->step[0][2], s1 = layer->step[1][2];
    const int32_t multiplier = layer->multiplier[0], shift = layer->shift;
    const int32_t zero = layer->zero, low = layer->low, high = layer->high;

    for (int32_t row = 0; row < layer->rows; ++row) {
        const int8_t *a = first + row * layer->step[0][0], *b = second + row * layer->step[1][0];
        for (int32_t column = layer->columns; column > 0; --column) {
            const int8_t *x = a, *y = b;
            for (int8_t *end = output + layer->channels; output != end; x += s0, y += s1) {
                const int32_t product = (*x - z0) * (*y - z1);
                *output++ = nn_clamped(nn_requantized(product, multiplier, shift) + zero, low, high);
            }
            a += layer->step[0][1];
            b += layer->step[1][1];
        }
    }
}
