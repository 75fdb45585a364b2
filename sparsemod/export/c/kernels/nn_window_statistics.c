/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* The whole part of the square root of a number below 2^52. */
static int32_t root(uint64_t square)
{
    uint64_t found = 0;

    for (uint64_t bit = (uint64_t)1 << 50; bit != 0; bit >>= 2) {
        if (square >= found + bit) {
            square -= found + bit;
            found = (found >> 1) + bit;
        } else {
            found >>= 1;
        }
    }
    return (int32_t)found;
}

/* The statistics times the samples of the window: a mean is a sum, and crossings count 2^15 each. */
NN_KERNEL void nn_window_statistics(const nn_statistics_layer *layer, const int16_t *input, int8_t *output)
{
    const int32_t n = layer->window, step = layer->channels;
    int32_t first = layer->hop - n;

    for (int32_t frame = 0; frame < layer->frames; ++frame, first += layer->hop) {
        const int32_t begin = first < 0 ? -first : 0;
        for (int32_t channel = 0; channel < step; ++channel) {
            const int16_t *x = input + channel;
            /* the samples before the first one are zeros */
            int32_t sum = 0, crossings = 0;
            const int32_t start = begin > 0 ? 0 : x[first * step];
            int32_t low = start, high = start;
            int64_t squares = 0;

            for (int32_t i = begin; i < n; ++i) {
                const int32_t value = x[(first + i) * step];
                sum += value;
                squares += value * value;
                low = value < low ? value : low;
                high = value > high ? value : high;
            }
            int above = n * start > sum;
            for (int32_t i = begin; i < n; ++i) {
                const int now = n * x[(first + i) * step] > sum;
                crossings += now != above;
                above = now;
            }
            const int32_t values[] = {
                sum, root((uint64_t)(n * squares - (int64_t)sum * sum)), n * low, n * high, crossings * (1 << 15),
            };
            for (int32_t i = 0; i < 5; ++i) {
                *output++ = nn_feature(&layer->scale, 5 * channel + i, values[i]);
            }
        }
    }
}
