/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

static int8_t *copied(int8_t *to, const int8_t *from, int32_t count)
{
    const int8_t *end = from + count;
    for (; end - from >= 4; from += 4, to += 4) {
        memcpy(to, from, 4);
    }
    while (from != end) {
        *to++ = *from++;
    }
    return to;
}

static int8_t *filled(int8_t *to, int8_t value, int32_t count)
{
    for (; count > 0; --count) {
        *to++ = value;
    }
    return to;
}

/*
 * Copies `channels` channels of a window into `to`: kernel row, kernel column, channel. `rows` and `columns` are the
 * taps inside of the input; what lies outside is its zero point, so that it adds nothing.
 */
static void gather(const nn_conv_layer *layer, const int8_t *from, nn_span rows, nn_span columns,
                   int32_t channels, int8_t *to)
{
    const nn_window *window = &layer->window;
    const int32_t right = window->dilation_columns * window->channels;
    const int32_t down = window->dilation_rows * window->in_columns * window->channels;
    const int32_t before = columns.first * channels;
    const int32_t after = (window->kernel_columns - columns.end) * channels;
    const int8_t zero = layer->zero_in;

    if (right == channels && rows.end - rows.first == window->kernel_rows && before + after == 0) {
        for (int32_t i = 0; i < rows.end - rows.first; ++i) { /* the usual case: whole rows, all inside */
            to = copied(to, from + i * down, window->kernel_columns * channels);
        }
        return;
    }
    to = filled(to, zero, rows.first * window->kernel_columns * channels);
    for (int32_t i = 0; i < rows.end - rows.first; ++i) {
        to = filled(to, zero, before);
        for (int32_t j = 0; j < columns.end - columns.first; ++j) {
            to = copied(to, from + i * down + j * right, channels);
        }
        to = filled(to, zero, after);
    }
    filled(to, zero, (window->kernel_rows - rows.end) * window->kernel_columns * channels);
}

/* Any convolution: each window is gathered into `column`, then all filters of its group are applied to it. */
NN_KERNEL void nn_conv(const nn_conv_layer *layer, const int8_t *input, int8_t *output, int8_t *column)
{
    const nn_window *window = &layer->window;
    const nn_filters *filters = &layer->filters;
    const int32_t channels = window->channels / layer->groups;
    const int32_t outputs = filters->outputs / layer->groups;

    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int32_t top = row * window->stride_rows - window->pad_top;
        const nn_span rows = nn_inside(top, window->kernel_rows, window->dilation_rows, window->in_rows);

        for (int32_t place = 0; place < window->out_columns; ++place) {
            const int32_t left = place * window->stride_columns - window->pad_left;
            const nn_span columns =
                nn_inside(left, window->kernel_columns, window->dilation_columns, window->in_columns);
            const int8_t *from = input + (rows.place * window->in_columns + columns.place) * window->channels;

            for (int32_t group = 0; group < layer->groups; ++group) {
                gather(layer, from + group * channels, rows, columns, channels, column);
                filters->apply(filters, group * outputs, outputs, column, output);
                output += outputs;
            }
        }
    }
}
