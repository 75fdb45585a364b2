/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Adds `count` taps of `lanes` channels, 4 or 1 (a constant wherever this is inlined). */
static inline nn_sums added(nn_sums sum, const int8_t *tap, int32_t step, const int8_t *w, int32_t channels,
                         int32_t count, int32_t lanes)
{
    for (; count > 0; --count, tap += step, w += channels) {
        sum.s0 += tap[0] * w[0];
        if (lanes == 4) {
            sum.s1 += tap[1] * w[1];
            sum.s2 += tap[2] * w[2];
            sum.s3 += tap[3] * w[3];
        }
    }
    return sum;
}

/* The window whose first tap inside of the input is at `x`; outside of it are zero points. */
static inline nn_sums window_sums(const nn_conv_layer *layer, nn_sums sum, const int8_t *x, const int8_t *w,
                               nn_span rows, nn_span columns, int32_t lanes)
{
    const nn_window *window = &layer->window;
    const int32_t channels = window->channels;
    const int32_t right = window->dilation_columns * channels;
    const int32_t down = window->dilation_rows * window->in_columns * channels;
    const int32_t width = window->kernel_columns;
    const int8_t outside[4] = {layer->zero_in, layer->zero_in, layer->zero_in, layer->zero_in};

    for (int32_t i = 0; i < window->kernel_rows; ++i, w += width * channels) {
        nn_span inside = {width, width, 0};
        if (i >= rows.first && i < rows.end) {
            inside = columns;
        }
        sum = added(sum, outside, 0, w, channels, inside.first, lanes);
        sum = added(sum, x, right, w + inside.first * channels, channels, inside.end - inside.first, lanes);
        sum = added(sum, outside, 0, w + inside.end * channels, channels, width - inside.end, lanes);
        if (i >= rows.first) {
            x += down;
        }
    }
    return sum;
}

/* One filter for each channel; weights[kernel row][kernel column][channel]. */
void nn_depthwise(const nn_conv_layer *layer, const int8_t *input, int8_t *output)
{
    const nn_window *window = &layer->window;
    const nn_filters *filters = &layer->filters;
    const int32_t channels = window->channels;

    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int32_t top = row * window->stride_rows - window->pad_top;
        const nn_span rows = nn_inside(top, window->kernel_rows, window->dilation_rows, window->in_rows);

        for (int32_t column = 0; column < window->out_columns; ++column) {
            const int32_t left = column * window->stride_columns - window->pad_left;
            const nn_span columns =
                nn_inside(left, window->kernel_columns, window->dilation_columns, window->in_columns);
            const int8_t *x = input + (rows.place * window->in_columns + columns.place) * channels;
            const int8_t *w = filters->weights;
            const int32_t *bias = filters->bias;
            int32_t channel = 0;

            for (; channel + 4 <= channels; channel += 4, output += 4) {
                nn_sums sum = {bias[channel], bias[channel + 1], bias[channel + 2], bias[channel + 3]};
                sum = window_sums(layer, sum, x + channel, w + channel, rows, columns, 4);
                nn_output_4(filters, channel, sum, output);
            }
            for (; channel < channels; ++channel) {
                nn_sums sum = {bias[channel], 0, 0, 0};
                sum = window_sums(layer, sum, x + channel, w + channel, rows, columns, 1);
                *output++ = nn_output(filters, channel, sum.s0);
            }
        }
    }
}
