/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Filters of which only the nonzero weights are stored, and a bit for each weight that says which. */
NN_KERNEL void nn_apply_mask(const nn_filters *filters, int32_t first, int32_t count, const int8_t *x, int8_t *output)
{
    const int8_t *w = filters->weights;
    const uint8_t *mask = filters->index;
    const int8_t *end = x + filters->taps;

    for (; count > 0; --count, ++first) {
        int32_t sum = filters->bias[first];
        const int8_t *block = x;

        for (; end - block > 8; block += 8) {
            const uint32_t bits = *mask++;
            if (bits & 1) sum += block[0] * *w++;
            if (bits & 2) sum += block[1] * *w++;
            if (bits & 4) sum += block[2] * *w++;
            if (bits & 8) sum += block[3] * *w++;
            if (bits < 16) {
                continue;
            }
            if (bits & 16) sum += block[4] * *w++;
            if (bits & 32) sum += block[5] * *w++;
            if (bits & 64) sum += block[6] * *w++;
            if (bits & 128) sum += block[7] * *w++;
        }
        for (uint32_t bits = *mask++; bits != 0; bits >>= 1, ++block) {
            if (bits & 1) sum += *block * *w++;
        }
        *output++ = nn_output(filters, first, sum);
    }
}
