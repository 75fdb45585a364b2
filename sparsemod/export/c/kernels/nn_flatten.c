/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Channels last to channels first; only where the next layer's weights could not be permuted instead. */
NN_KERNEL void nn_flatten(int32_t positions, int32_t channels, const int8_t *input, int8_t *output)
{
    for (int32_t channel = 0; channel < channels; ++channel) {
        for (int32_t position = 0; position < positions; ++position) {
            *output++ = input[position * channels + channel];
        }
    }
}
