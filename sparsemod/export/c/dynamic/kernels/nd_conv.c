/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

/* Copies one window of a group; what lies outside of the input is the zero point. */
static void gathered(const nd_conv_layer *layer, int32_t top, int32_t left, int32_t depth, int32_t zero, const int8_t *q,
                     int8_t *column)
{
    const nn_window *window = &layer->window;

    for (int32_t i = 0; i < window->kernel_rows; ++i) {
        const int32_t row = top + i * window->dilation_rows;
        for (int32_t j = 0; j < window->kernel_columns; ++j, column += depth) {
            const int32_t place = left + j * window->dilation_columns;
            if (row < 0 || row >= window->in_rows || place < 0 || place >= window->in_columns) {
                memset(column, (int)zero, (size_t)depth);
            } else {
                memcpy(column, q + (row * window->in_columns + place) * window->channels, (size_t)depth);
            }
        }
    }
}

NN_KERNEL void nd_conv(const nd_conv_layer *layer, const float *input, float *output, int8_t *scratch)
{
    const nn_window *window = &layer->window;
    const int32_t size = window->in_rows * window->in_columns * window->channels;
    const int32_t depth = window->channels / layer->groups, filters = layer->filters.outputs / layer->groups;
    const nd_range range = nd_input_range(&layer->filters, size, input);
    int8_t *column_of = scratch + size;

    nd_quantize(size, input, range, scratch);
    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int32_t top = row * window->stride_rows - window->pad_top;
        for (int32_t column = 0; column < window->out_columns; ++column) {
            const int32_t left = column * window->stride_columns - window->pad_left;
            for (int32_t group = 0; group < layer->groups; ++group, output += filters) {
                const int8_t *q = column_of;
                if (layer->direct) {
                    q = scratch + (top * window->in_columns + left) * window->channels;
                } else {
                    gathered(layer, top, left, depth, range.zero, scratch + group * depth, column_of);
                }
                nd_apply(&layer->filters, group * filters, filters, q, range, output);
            }
        }
    }
}
