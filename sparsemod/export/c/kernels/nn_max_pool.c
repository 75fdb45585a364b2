/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* The largest value of each window inside of the input. */
void nn_max_pool(const nn_pool_layer *layer, const int8_t *input, int8_t *output)
{
    const nn_window *window = &layer->window;
    const int32_t channels = window->channels;

    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int32_t top = row * window->stride_rows - window->pad_top;
        for (int32_t column = 0; column < window->out_columns; ++column) {
            const int32_t left = column * window->stride_columns - window->pad_left;
            for (int32_t channel = 0; channel < channels; ++channel) {
                int32_t largest = INT8_MIN;
                for (int32_t i = 0; i < window->kernel_rows; ++i) {
                    const int32_t y = top + i * window->dilation_rows;
                    for (int32_t j = 0; j < window->kernel_columns; ++j) {
                        const int32_t x = left + j * window->dilation_columns;
                        if (y >= 0 && y < window->in_rows && x >= 0 && x < window->in_columns) {
                            const int32_t value = input[(y * window->in_columns + x) * channels + channel];
                            largest = value > largest ? value : largest;
                        }
                    }
                }
                *output++ = (int8_t)largest;
            }
        }
    }
}
