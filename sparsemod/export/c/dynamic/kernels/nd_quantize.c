/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

NN_KERNEL void nd_quantize(int32_t size, const float *input, nd_range range, int8_t *q)
{
    for (int32_t i = 0; i < size; ++i) {
        const float steps = nd_limited(nd_quotient(input[i], range.scale), 512.0f);
        q[i] = nn_clamped(nd_nearest(steps) + range.zero, -128, 127);
    }
}
