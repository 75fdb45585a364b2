/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

static int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* To nearest, halves away from zero. */
static inline int8_t mean(int32_t sum, int32_t count)
{
    return (int8_t)((sum > 0 ? sum + count / 2 : sum - count / 2) / count);
}

/* The mean of each window; counted padding has the input's zero point. */
NN_KERNEL void nn_avg_pool(const nn_pool_layer *layer, const int8_t *input, int8_t *output)
{
    const nn_window *window = &layer->window;
    const int32_t channels = window->channels;
    const int32_t down = window->in_columns * channels;
    const int32_t below = layer->count_padding ? window->in_rows + layer->pad_bottom : window->in_rows;
    const int32_t beyond = layer->count_padding ? window->in_columns + layer->pad_right : window->in_columns;

    for (int32_t row = 0; row < window->out_rows; ++row) {
        const int32_t top = row * window->stride_rows - window->pad_top;
        const int32_t first_row = larger(top, 0);
        const int32_t last_row = smaller(top + window->kernel_rows, window->in_rows);
        const int32_t tall =
            smaller(top + window->kernel_rows, below) - (layer->count_padding ? top : first_row);

        for (int32_t column = 0; column < window->out_columns; ++column) {
            const int32_t left = column * window->stride_columns - window->pad_left;
            const int32_t first = larger(left, 0);
            const int32_t last = smaller(left + window->kernel_columns, window->in_columns);
            const int32_t wide =
                smaller(left + window->kernel_columns, beyond) - (layer->count_padding ? left : first);
            const int32_t count = tall * wide;
            const int32_t padding = (count - (last_row - first_row) * (last - first)) * layer->zero_in;

            const int8_t *from = input + (first_row * window->in_columns + first) * channels;
            int32_t channel = 0;

            for (; channel + 4 <= channels; channel += 4, from += 4, output += 4) {
                int32_t s0 = padding, s1 = padding, s2 = padding, s3 = padding;
                for (int32_t i = 0; i < last_row - first_row; ++i) {
                    const int8_t *x = from + i * down;
                    for (int32_t j = last - first; j > 0; x += channels) {
                        s0 += x[0];
                        s1 += x[1];
                        s2 += x[2];
                        s3 += x[3];
                        if (--j == 0) {
                            break;
                        }
                    }
                }
                output[0] = mean(s0, count);
                output[1] = mean(s1, count);
                output[2] = mean(s2, count);
                output[3] = mean(s3, count);
            }
            for (; channel < channels; ++channel, ++from) {
                int32_t sum = padding;
                for (int32_t i = 0; i < last_row - first_row; ++i) {
                    const int8_t *x = from + i * down;
                    for (int32_t j = last - first; j > 0; x += channels) {
                        sum += *x;
                        if (--j == 0) {
                            break;
                        }
                    }
                }
                *output++ = mean(sum, count);
            }
        }
    }
}
