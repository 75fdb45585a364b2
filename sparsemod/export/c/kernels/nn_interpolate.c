/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Between four positions, in parts of 1 / 1024 of each axis, rounded to nearest, halves upwards. */
NN_KERNEL void nn_interpolate(const nn_interpolate_layer *layer, const int8_t *input, int8_t *output)
{
    const int32_t channels = layer->channels, down = layer->in_columns * layer->channels;

    for (int32_t row = 0; row < layer->out_rows; ++row) {
        const int8_t *above = input + layer->row[row] * down, *below = input + layer->row_next[row] * down;
        const int32_t low = layer->row_part[row], high = 1024 - low;

        for (int32_t column = 0; column < layer->out_columns; ++column) {
            const int32_t left = layer->column[column] * channels, right = layer->column_next[column] * channels;
            const int32_t b = layer->column_part[column], a = 1024 - b;

            for (int32_t channel = 0; channel < channels; ++channel) {
                const int32_t upper = above[left + channel] * a + above[right + channel] * b;
                const int32_t lower = below[left + channel] * a + below[right + channel] * b;
                *output++ = (int8_t)((upper * high + lower * low + (1 << 19)) >> 20);
            }
        }
    }
}
