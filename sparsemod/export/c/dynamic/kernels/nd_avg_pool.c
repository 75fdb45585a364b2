/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

static int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* The mean of each window: its elements are added row by row. */
NN_KERNEL void nd_avg_pool(const nd_pool_layer *layer, const float *input, float *output)
{
    const nn_window *window = &layer->window;
    const int32_t below = layer->count_padding ? window->in_rows + layer->pad_bottom : window->in_rows;
    const int32_t beyond = layer->count_padding ? window->in_columns + layer->pad_right : window->in_columns;

    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int32_t top = row * window->stride_rows - window->pad_top;
        const int32_t first_row = larger(top, 0), last_row = smaller(top + window->kernel_rows, window->in_rows);
        const int32_t tall = smaller(top + window->kernel_rows, below) - (layer->count_padding ? top : first_row);

        for (int32_t column = 0; column < window->out_columns; ++column) {
            const int32_t left = column * window->stride_columns - window->pad_left;
            const int32_t first = larger(left, 0), last = smaller(left + window->kernel_columns, window->in_columns);
            const int32_t wide = smaller(left + window->kernel_columns, beyond) - (layer->count_padding ? left : first);

            for (int32_t channel = 0; channel < window->channels; ++channel) {
                float total = 0.0f;
                for (int32_t i = first_row; i < last_row; ++i) {
                    for (int32_t j = first; j < last; ++j) {
                        total = nd_sum(total, input[(i * window->in_columns + j) * window->channels + channel]);
                    }
                }
                *output++ = nd_quotient(total, nd_number(tall * wide));
            }
        }
    }
}
