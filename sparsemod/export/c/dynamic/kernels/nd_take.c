/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

/* Chosen rows, columns and channels; what lies outside is `fill`. */
NN_KERNEL void nd_take(const nn_take_layer *layer, float fill, const float *input, float *output)
{
    for (int32_t row = 0; row < layer->out_rows; ++row) {
        for (int32_t column = 0; column < layer->out_columns; ++column) {
            const uint32_t r = layer->rows[row], c = layer->columns[column];
            for (int32_t channel = 0; channel < layer->out_channels; ++channel) {
                const uint32_t k = layer->channels ? layer->channels[channel] : (uint32_t)channel;
                if (r == NN_OUTSIDE || c == NN_OUTSIDE || k == NN_OUTSIDE) {
                    *output++ = fill;
                } else {
                    const int32_t place = (int32_t)r * layer->in_columns + (int32_t)c;
                    *output++ = input[place * layer->in_channels + (int32_t)k];
                }
            }
        }
    }
}
