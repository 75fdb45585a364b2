/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

#if NN_SIMD
/* Of each of four bytes the larger one. */
static inline uint32_t larger(uint32_t a, uint32_t b)
{
    (void)__ssub8((int8x4_t)a, (int8x4_t)b); /* sets one flag for each byte */
    return __sel(a, b);
}
#else
static inline int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}
#endif

/* Four channels of the window whose first tap inside of the input is at `x`. */
static inline void largest_4(const int8_t *x, int32_t rows, int32_t columns, int32_t right, int32_t down,
                             int8_t *output)
{
#if NN_SIMD
    uint32_t largest = nn_word(x);
#else
    int32_t m0 = x[0], m1 = x[1], m2 = x[2], m3 = x[3];
#endif
    for (int32_t i = 0; i < rows; ++i) {
        const int8_t *tap = x + i * down;
        for (int32_t j = columns; j > 0; tap += right) {
#if NN_SIMD
            largest = larger(nn_word(tap), largest);
#else
            m0 = larger(tap[0], m0);
            m1 = larger(tap[1], m1);
            m2 = larger(tap[2], m2);
            m3 = larger(tap[3], m3);
#endif
            if (--j == 0) {
                break;
            }
        }
    }
#if NN_SIMD
    memcpy(output, &largest, sizeof largest);
#else
    output[0] = (int8_t)m0;
    output[1] = (int8_t)m1;
    output[2] = (int8_t)m2;
    output[3] = (int8_t)m3;
#endif
}

static inline int8_t largest_1(const int8_t *x, int32_t rows, int32_t columns, int32_t right, int32_t down)
{
    int8_t largest = *x;
    for (int32_t i = 0; i < rows; ++i) {
        const int8_t *tap = x + i * down;
        for (int32_t j = columns; j > 0; tap += right) {
            largest = *tap > largest ? *tap : largest;
            if (--j == 0) {
                break;
            }
        }
    }
    return largest;
}

/* The largest value of each window inside of the input; padding never wins. */
NN_KERNEL void nn_max_pool(const nn_pool_layer *layer, const int8_t *input, int8_t *output)
{
    const nn_window *window = &layer->window;
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
            const int8_t *from = input + (rows.place * window->in_columns + columns.place) * channels;
            const int32_t tall = rows.end - rows.first, wide = columns.end - columns.first;
            int32_t channel = 0;

            for (; channel + 4 <= channels; channel += 4, from += 4, output += 4) {
                largest_4(from, tall, wide, right, down, output);
            }
            for (; channel < channels; ++channel, ++from) {
                *output++ = largest_1(from, tall, wide, right, down);
            }
        }
    }
}
