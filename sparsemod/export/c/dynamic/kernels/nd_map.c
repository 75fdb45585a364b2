/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

NN_KERNEL void nd_map(int32_t size, float (*function)(float), const float *input, float *output)
{
    for (int32_t i = 0; i < size; ++i) {
        output[i] = function(input[i]);
    }
}
