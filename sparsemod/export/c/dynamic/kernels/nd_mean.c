/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

/* The mean over the positions, which are added in their order. */
NN_KERNEL void nd_mean(int32_t positions, int32_t channels, const float *input, float *output)
{
    for (int32_t channel = 0; channel < channels; ++channel) {
        float total = 0.0f;
        for (int32_t position = 0; position < positions; ++position) {
            total = nd_sum(total, input[position * channels + channel]);
        }
        output[channel] = nd_quotient(total, nd_number(positions));
    }
}
