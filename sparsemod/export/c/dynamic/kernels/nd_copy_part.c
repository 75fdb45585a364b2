/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

NN_KERNEL void nd_copy_part(int32_t rows, int32_t run, int32_t stride, const float *input, float *output)
{
    for (int32_t row = 0; row < rows; ++row, input += run, output += stride) {
        memcpy(output, input, (size_t)run * sizeof *input);
    }
}
