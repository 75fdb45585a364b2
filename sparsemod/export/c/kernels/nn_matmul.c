/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Products of two matrices, each read with steps of its own; row r of the output holds row r of every product, one after another. */
NN_KERNEL void nn_matmul(const nn_matmul_layer *layer, const int8_t *first, const int8_t *second, int8_t *output)
{
    const int32_t z0 = layer->zero_in[0], z1 = layer->zero_in[1], s0 = layer->step[0][2], s1 = layer->step[1][2];

    first += layer->offset[0];
    second += layer->offset[1];
    for (int32_t row = 0; row < layer->rows; ++row, first += layer->step[0][1]) {
        const int8_t *a = first, *b = second;
        for (int32_t product = layer->products; product > 0; --product) {
            const int8_t *y = b;
            for (int32_t column = layer->columns; column > 0; --column, y += layer->step[1][1]) {
                const int8_t *p = a, *q = y;
                int32_t sum = 0;
                for (int32_t i = layer->inner; i > 0; --i, p += s0, q += s1) {
                    sum += (*p - z0) * (*q - z1);
                }
                sum = nn_requantized(sum, layer->multiplier, layer->shift);
                *output++ = nn_clamped(sum + layer->zero, INT8_MIN, INT8_MAX);
            }
            a += layer->step[0][0];
            b += layer->step[1][0];
        }
    }
}
