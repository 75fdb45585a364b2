/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Element by element; `offset` holds the zero points of the inputs and the rounding constant. */
NN_KERNEL void nn_add(const nn_add_layer *layer, const int8_t *first, const int8_t *second, int8_t *output)
{
    const int32_t m0 = layer->multiplier[0], m1 = layer->multiplier[1];
    const int32_t offset = layer->offset, shift = layer->shift;
    const int32_t zero = layer->zero, low = layer->low, high = layer->high;

    for (const int8_t *end = first + layer->size; first != end;) {
        const int32_t sum = *first++ * m0 + *second++ * m1 + offset;
        *output++ = nn_clamped((sum >> shift) + zero, low, high);
    }
}
