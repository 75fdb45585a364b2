/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

NN_KERNEL void nd_clamp(int32_t size, int32_t activation, const float *input, float *output)
{
    for (int32_t i = 0; i < size; ++i) {
        output[i] = nd_activated(input[i], activation);
    }
}
