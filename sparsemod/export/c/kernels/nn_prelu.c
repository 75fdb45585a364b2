/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* A line through zero on each side of it; that of the negative values differs between channels. */
NN_KERNEL void nn_prelu(const nn_prelu_layer *layer, const int8_t *input, int8_t *output)
{
    const int32_t positive = layer->positive, shift = layer->shift, half = (int32_t)1 << (shift - 1);
    const int32_t zero_in = layer->zero_in, zero = layer->zero;

    for (int32_t position = 0; position < layer->positions; ++position) {
        const int32_t *slopes = layer->slopes;
        for (const int8_t *end = input + layer->channels; input != end;) {
            const int32_t d = *input++ - zero_in, slope = *slopes++;
            *output++ = nn_clamped(((d * (d < 0 ? slope : positive) + half) >> shift) + zero, INT8_MIN, INT8_MAX);
        }
    }
}
