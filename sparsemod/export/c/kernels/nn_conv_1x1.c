/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* A 1 x 1 convolution without padding: each position of the input is the window. */
NN_KERNEL void nn_conv_1x1(const nn_conv_layer *layer, const int8_t *input, int8_t *output)
{
    const nn_window *window = &layer->window;
    const nn_filters *filters = &layer->filters;
    const int32_t down = window->stride_rows * window->in_columns * window->channels;
    const int32_t right = window->stride_columns * window->channels;

    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int8_t *x = input + row * down;
        for (int32_t column = 0; column < window->out_columns; ++column) {
            filters->apply(filters, 0, filters->outputs, x + column * right, output);
            output += filters->outputs;
        }
    }
}
