/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* An activation of its own: relu and relu6 that no other layer could take in. */
NN_KERNEL void nn_clamp(int32_t size, int8_t low, int8_t high, const int8_t *input, int8_t *output)
{
    for (int32_t i = 0; i < size; ++i) {
        output[i] = nn_clamped(input[i], low, high);
    }
}
