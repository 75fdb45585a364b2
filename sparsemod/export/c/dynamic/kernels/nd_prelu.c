/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

NN_KERNEL void nd_prelu(int32_t positions, int32_t channels, const float *slopes, const float *input, float *output)
{
    for (int32_t position = 0; position < positions; ++position) {
        for (int32_t channel = 0; channel < channels; ++channel) {
            const float x = *input++;
            *output++ = x > 0.0f ? x : nd_product(x, slopes[channel]);
        }
    }
}
