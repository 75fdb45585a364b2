/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Any function of one value. */
NN_KERNEL void nn_table(int32_t size, const int8_t *table, const int8_t *input, int8_t *output)
{
    for (const int8_t *end = input + size; input != end;) {
        *output++ = table[*input++];
    }
}
