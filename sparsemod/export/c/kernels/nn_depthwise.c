/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* One tap of four channels. */
static inline nn_sums tap_4(nn_sums sum, const int8_t *x, const int8_t *w)
{
#if NN_SIMD
    const uint32_t values = nn_word(x), weights = nn_word(w);
    const int16x2_t even = nn_even(values), odd = nn_odd(values);
    const int16x2_t even_w = nn_even(weights), odd_w = nn_odd(weights);
    sum.s0 = __smlabb(even, even_w, sum.s0);
    sum.s1 = __smlabb(odd, odd_w, sum.s1);
    sum.s2 = __smlatt(even, even_w, sum.s2);
    sum.s3 = __smlatt(odd, odd_w, sum.s3);
#else
    sum.s0 += x[0] * w[0];
    sum.s1 += x[1] * w[1];
    sum.s2 += x[2] * w[2];
    sum.s3 += x[3] * w[3];
#endif
    return sum;
}

/* Four channels of a 3 x 3 window that lies inside of the input. */
static inline nn_sums whole_3x3(nn_sums sum, const int8_t *x, int32_t right, int32_t down, const int8_t *w,
                                int32_t channels)
{
    for (int32_t i = 3;; x += down, w += channels) {
        sum = tap_4(sum, x, w);
        w += channels;
        sum = tap_4(sum, x + right, w);
        w += channels;
        sum = tap_4(sum, x + 2 * right, w);
        if (--i == 0) {
            return sum;
        }
    }
}

/* Adds `count` taps of `lanes` channels, 4 or 1 (a constant wherever this is inlined). */
static inline nn_sums added(nn_sums sum, const int8_t *tap, int32_t step, const int8_t *w, int32_t channels,
                            int32_t count, int32_t lanes)
{
    for (; count > 0; tap += step, w += channels) {
        if (lanes == 4) {
            sum = tap_4(sum, tap, w);
        } else {
            sum.s0 += *tap * *w;
        }
        if (--count == 0) {
            break; /* before the pointers leave their arrays */
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

    for (int32_t i = 0;; w += channels) {
        nn_span inside = {width, width, 0};
        if (i >= rows.first && i < rows.end) {
            inside = columns;
        }
        sum = added(sum, outside, 0, w, channels, inside.first, lanes);
        if (inside.first < inside.end) {
            sum = added(sum, x, right, w + inside.first * channels, channels, inside.end - inside.first, lanes);
        }
        if (inside.end < width) {
            sum = added(sum, outside, 0, w + inside.end * channels, channels, width - inside.end, lanes);
        }
        if (++i == window->kernel_rows) {
            return sum;
        }
        if (i > rows.first && i < rows.end) {
            x += down;
        }
        w += (width - 1) * channels;
    }
}

/* One filter for each channel; weights[kernel row][kernel column][channel]. */
NN_KERNEL void nn_depthwise(const nn_conv_layer *layer, const int8_t *input, int8_t *output)
{
    const nn_window *window = &layer->window;
    const nn_filters *filters = &layer->filters;
    const int32_t channels = window->channels;
    const int32_t right = window->dilation_columns * channels;
    const int32_t down = window->dilation_rows * window->in_columns * channels;

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
            const int whole_3 = window->kernel_rows == 3 && rows.end - rows.first == 3 &&
                                window->kernel_columns == 3 && columns.end - columns.first == 3;
            int32_t channel = 0;

            for (; channel + 4 <= channels; channel += 4, output += 4) {
                nn_sums sum = {bias[channel], bias[channel + 1], bias[channel + 2], bias[channel + 3]};
                if (whole_3) {
                    sum = whole_3x3(sum, x + channel, right, down, w + channel, channels);
                } else {
                    sum = window_sums(layer, sum, x + channel, w + channel, rows, columns, 4);
                }
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
