/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

NN_KERNEL void nd_offset(int32_t size, int32_t activation, const float *constants, const float *input, float *output)
{
    for (int32_t i = 0; i < size; ++i) {
        output[i] = nd_activated(nd_sum(input[i], constants[i]), activation);
    }
}
