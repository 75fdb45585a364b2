/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* The mean of each channel over all positions. */
NN_KERNEL void nn_mean(const nn_mean_layer *layer, const int8_t *input, int8_t *output)
{
    for (int32_t channel = 0; channel < layer->channels; ++channel) {
        const int8_t *x = input + channel;
        int32_t sum = layer->offset;
        for (int32_t position = layer->positions; position > 0; x += layer->channels) {
            sum += *x;
            if (--position == 0) {
                break;
            }
        }
        sum = nn_requantized(sum, layer->multiplier, layer->shift);
        output[channel] = nn_clamped(sum + layer->zero, INT8_MIN, INT8_MAX);
    }
}
