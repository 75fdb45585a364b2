/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

static float combined(int32_t operation, float a, float b)
{
    switch (operation) {
    case ND_SUM:
        return nd_sum(a, b);
    case ND_DIFFERENCE:
        return nd_difference(a, b);
    case ND_PRODUCT:
        return nd_product(a, b);
    case ND_LARGER:
        return a > b ? a : b;
    default:
        return a < b ? a : b;
    }
}

NN_KERNEL void nd_combine(const nd_pair_layer *layer, const float *first, const float *second, float *output)
{
    for (int32_t row = 0; row < layer->rows; ++row) {
        for (int32_t column = 0; column < layer->columns; ++column) {
            const float *a = first + row * layer->step[0][0] + column * layer->step[0][1];
            const float *b = second + row * layer->step[1][0] + column * layer->step[1][1];
            for (int32_t channel = 0; channel < layer->channels; ++channel) {
                *output++ = nd_activated(combined(layer->operation, *a, *b), layer->activation);
                a += layer->step[0][2];
                b += layer->step[1][2];
            }
        }
    }
}
