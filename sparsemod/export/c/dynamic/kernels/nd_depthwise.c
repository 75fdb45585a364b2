/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

NN_KERNEL void nd_depthwise(const nd_conv_layer *layer, const float *input, float *output, int8_t *scratch)
{
    const nn_window *window = &layer->window;
    const int32_t channels = window->channels;
    const int32_t size = window->in_rows * window->in_columns * channels;
    const nd_range range = nd_input_range(&layer->filters, size, input);

    nd_quantize(size, input, range, scratch);
    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int32_t top = row * window->stride_rows - window->pad_top;
        const nn_span rows = nn_inside(top, window->kernel_rows, window->dilation_rows, window->in_rows);

        for (int32_t column = 0; column < window->out_columns; ++column) {
            const int32_t left = column * window->stride_columns - window->pad_left;
            const nn_span columns =
                nn_inside(left, window->kernel_columns, window->dilation_columns, window->in_columns);

            for (int32_t channel = 0; channel < channels; ++channel) {
                int32_t sum = 0;
                for (int32_t i = rows.first; i < rows.end; ++i) {
                    const int32_t line = (top + i * window->dilation_rows) * window->in_columns + left;
                    const int8_t *w = layer->filters.weights + i * window->kernel_columns * channels + channel;
                    for (int32_t j = columns.first; j < columns.end; ++j) {
                        sum += w[j * channels] * (scratch[(line + j * window->dilation_columns) * channels + channel] - range.zero);
                    }
                }
                *output++ = nd_output(&layer->filters, channel, sum, range.scale);
            }
        }
    }
}
