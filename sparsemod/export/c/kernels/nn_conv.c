/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

#include <string.h>

/*
 * Copies the window at (top, left) of `channels` channels into `column`: kernel row, kernel column, channel.
 * What lies outside of the input is its zero point, so that it adds nothing.
 */
static void gather(const nn_conv_layer *layer, const int8_t *input, int32_t top, int32_t left,
                   int32_t channels, int8_t *column)
{
    const nn_window *window = &layer->window;

    for (int32_t i = 0; i < window->kernel_rows; ++i) {
        const int32_t row = top + i * window->dilation_rows;
        for (int32_t j = 0; j < window->kernel_columns; ++j) {
            const int32_t place = left + j * window->dilation_columns;
            if (row >= 0 && row < window->in_rows && place >= 0 && place < window->in_columns) {
                memcpy(column, input + (row * window->in_columns + place) * window->channels, (size_t)channels);
            } else {
                memset(column, layer->zero_in, (size_t)channels);
            }
            column += channels;
        }
    }
}

/* Any convolution: each window is gathered into `column`, then all filters of its group are applied to it. */
void nn_conv(const nn_conv_layer *layer, const int8_t *input, int8_t *output, int8_t *column)
{
    const nn_window *window = &layer->window;
    const nn_filters *filters = &layer->filters;
    const int32_t channels = window->channels / layer->groups;
    const int32_t outputs = filters->outputs / layer->groups;

    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int32_t top = row * window->stride_rows - window->pad_top;
        for (int32_t place = 0; place < window->out_columns; ++place) {
            const int32_t left = place * window->stride_columns - window->pad_left;
            for (int32_t group = 0; group < layer->groups; ++group) {
                gather(layer, input + group * channels, top, left, channels, column);
                nn_apply(filters, group * outputs, outputs, column, output);
                output += outputs;
            }
        }
    }
}
