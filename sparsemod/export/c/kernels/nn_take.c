/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Rows, columns and channels by number: padding, slices, repetitions. */
NN_KERNEL void nn_take(const nn_take_layer *layer, const int8_t *input, int8_t *output)
{
    const int32_t channels = layer->out_channels;
    const int32_t right = layer->in_channels, down = layer->in_columns * layer->in_channels;

    for (int32_t row = 0; row < layer->out_rows; ++row) {
        for (int32_t column = 0; column < layer->out_columns; ++column, output += channels) {
            if (layer->rows[row] == NN_OUTSIDE || layer->columns[column] == NN_OUTSIDE) {
                memset(output, layer->fill, (size_t)channels);
                continue;
            }
            const int8_t *from = input + layer->rows[row] * down + layer->columns[column] * right;
            if (layer->channels == 0) {
                memcpy(output, from, (size_t)channels);
                continue;
            }
            for (int32_t channel = 0; channel < channels; ++channel) {
                const uint16_t place = layer->channels[channel];
                output[channel] = place == NN_OUTSIDE ? layer->fill : from[place];
            }
        }
    }
}
