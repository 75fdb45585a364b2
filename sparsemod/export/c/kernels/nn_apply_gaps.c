/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Filters of which few weights are stored, each with the number of zeros before it. */
NN_KERNEL void nn_apply_gaps(const nn_filters *filters, int32_t first, int32_t count, const int8_t *x, int8_t *output)
{
    const int8_t *w = filters->weights;
    const uint8_t *gap = filters->index;
    const int8_t *end = x + filters->taps;

    for (; count > 0; --count, ++first) {
        int32_t sum = filters->bias[first];

        for (const int8_t *tap = x + *gap++; tap != end; tap += *gap++) {
            sum += *tap++ * *w++;
        }
        *output++ = nn_output(filters, first, sum);
    }
}
