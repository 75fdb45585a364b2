/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

/* The largest value of each window inside of the input. */
NN_KERNEL void nd_max_pool(const nd_pool_layer *layer, const float *input, float *output)
{
    const nn_window *window = &layer->window;

    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int32_t top = row * window->stride_rows - window->pad_top;
        const nn_span rows = nn_inside(top, window->kernel_rows, window->dilation_rows, window->in_rows);

        for (int32_t column = 0; column < window->out_columns; ++column) {
            const int32_t left = column * window->stride_columns - window->pad_left;
            const nn_span columns =
                nn_inside(left, window->kernel_columns, window->dilation_columns, window->in_columns);

            for (int32_t channel = 0; channel < window->channels; ++channel) {
                float largest = -FLT_MAX;
                for (int32_t i = rows.first; i < rows.end; ++i) {
                    const int32_t line = (top + i * window->dilation_rows) * window->in_columns + left;
                    for (int32_t j = columns.first; j < columns.end; ++j) {
                        const float x = input[(line + j * window->dilation_columns) * window->channels + channel];
                        largest = x > largest ? x : largest;
                    }
                }
                *output++ = largest;
            }
        }
    }
}
