/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Of each byte the larger one. */
#if NN_SIMD
static inline uint32_t larger(uint32_t a, uint32_t b)
{
    (void)__ssub8((int8x4_t)a, (int8x4_t)b); /* sets one flag for each byte */
    return __sel(a, b);
}
#endif

/* The largest value of each window inside of the input; padding never wins. */
void nn_max_pool(const nn_pool_layer *layer, const int8_t *input, int8_t *output)
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
            int32_t channel = 0;

#if NN_SIMD
            for (; channel + 4 <= channels; channel += 4) {
                uint32_t largest = 0x80808080u;
                const int8_t *line = from;
                for (int32_t i = rows.first; i < rows.end; ++i) {
                    const int8_t *tap = line;
                    for (int32_t j = columns.first; j < columns.end; ++j) {
                        largest = larger(nn_word(tap), largest);
                        tap += right;
                    }
                    line += down;
                }
                memcpy(output, &largest, 4);
                output += 4;
                from += 4;
            }
#endif
            for (; channel < channels; ++channel) {
                int32_t largest = INT8_MIN;
                const int8_t *line = from;
                for (int32_t i = rows.first; i < rows.end; ++i) {
                    const int8_t *tap = line;
                    for (int32_t j = columns.first; j < columns.end; ++j) {
                        largest = *tap > largest ? *tap : largest;
                        tap += right;
                    }
                    line += down;
                }
                *output++ = (int8_t)largest;
                ++from;
            }
        }
    }
}
