/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* One channel; taps outside of the input have its zero point. */
static int32_t any(const nn_conv_layer *layer, const int8_t *x, const int8_t *w, nn_span rows, nn_span columns,
                   int32_t sum)
{
    const nn_window *window = &layer->window;
    const int32_t channels = window->channels;
    const int32_t right = window->dilation_columns * channels;
    const int32_t down = window->dilation_rows * window->in_columns * channels;
    int32_t outside = 0;

    for (int32_t i = 0; i < window->kernel_rows; ++i) {
        const int inside = i >= rows.first && i < rows.end;
        const int8_t *tap = x;
        for (int32_t j = 0; j < window->kernel_columns; ++j, w += channels) {
            if (inside && j >= columns.first && j < columns.end) {
                sum += *tap * *w;
                tap += right;
            } else {
                outside += *w;
            }
        }
        if (inside) {
            x += down;
        }
    }
    return sum + outside * layer->zero_in;
}

/* Four channels of a window that lies inside of the input. */
static void whole_4(const nn_conv_layer *layer, const int8_t *x, const int8_t *w, int32_t sum[4])
{
    const nn_window *window = &layer->window;
    const int32_t channels = window->channels;
    const int32_t right = window->dilation_columns * channels;
    const int32_t down = window->dilation_rows * window->in_columns * channels;
    int32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];

    for (int32_t i = window->kernel_rows; i > 0; --i, x += down) {
        const int8_t *tap = x;
        for (int32_t j = window->kernel_columns; j > 0; --j, tap += right, w += channels) {
            s0 += tap[0] * w[0];
            s1 += tap[1] * w[1];
            s2 += tap[2] * w[2];
            s3 += tap[3] * w[3];
        }
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
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
            const int whole = rows.end - rows.first == window->kernel_rows &&
                              columns.end - columns.first == window->kernel_columns;
            const int8_t *x = input + (rows.place * window->in_columns + columns.place) * channels;
            const int8_t *w = filters->weights;
            int32_t channel = 0;

            if (whole) {
                for (; channel + 4 <= channels; channel += 4, x += 4, w += 4) {
                    int32_t sum[4];
                    memcpy(sum, filters->bias + channel, sizeof sum);
                    whole_4(layer, x, w, sum);
                    for (int32_t k = 0; k < 4; ++k) {
                        *output++ = nn_output(filters, channel + k, sum[k]);
                    }
                }
            }
            for (; channel < channels; ++channel, ++x, ++w) {
                *output++ = nn_output(filters, channel, any(layer, x, w, rows, columns, filters->bias[channel]));
            }
        }
    }
}
