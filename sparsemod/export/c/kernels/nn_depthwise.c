/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* One filter for each channel; weights[kernel row][kernel column][channel]. */
void nn_depthwise(const nn_conv_layer *layer, const int8_t *input, int8_t *output)
{
    const nn_window *window = &layer->window;
    const nn_filters *filters = &layer->filters;
    const int32_t channels = window->channels;

    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int32_t top = row * window->stride_rows - window->pad_top;
        for (int32_t column = 0; column < window->out_columns; ++column) {
            const int32_t left = column * window->stride_columns - window->pad_left;
            for (int32_t channel = 0; channel < channels; ++channel) {
                const int8_t *weight = filters->weights + channel;
                int32_t sum = filters->bias[channel];
                for (int32_t i = 0; i < window->kernel_rows; ++i) {
                    const int32_t y = top + i * window->dilation_rows;
                    for (int32_t j = 0; j < window->kernel_columns; ++j) {
                        const int32_t x = left + j * window->dilation_columns;
                        int32_t value = layer->zero_in;
                        if (y >= 0 && y < window->in_rows && x >= 0 && x < window->in_columns) {
                            value = input[(y * window->in_columns + x) * channels + channel];
                        }
                        sum += value * *weight;
                        weight += channels;
                    }
                }
                sum = nn_requantized(sum, filters->multiplier[channel], filters->shift[channel]);
                *output++ = nn_clamped(sum + filters->zero, filters->low, filters->high);
            }
        }
    }
}
