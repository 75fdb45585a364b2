/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Four filters share the loads of the window. */
static void dot_4(const int8_t *x, const int8_t *w0, int32_t taps, int32_t sum[4])
{
    const int8_t *w1 = w0 + taps;
    const int8_t *w2 = w1 + taps;
    const int8_t *w3 = w2 + taps;
    int32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];

    for (const int8_t *end = x + taps; x != end; ++x) {
        const int32_t value = *x;
        s0 += value * *w0++;
        s1 += value * *w1++;
        s2 += value * *w2++;
        s3 += value * *w3++;
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
}

static int32_t dot_1(const int8_t *x, const int8_t *w, int32_t taps, int32_t sum)
{
    for (const int8_t *end = x + taps; x != end; ++x) {
        sum += *x * *w++;
    }
    return sum;
}

static int8_t finished(const nn_filters *filters, int32_t output, int32_t sum)
{
    sum = nn_requantized(sum, filters->multiplier[output], filters->shift[output]);
    return nn_clamped(sum + filters->zero, filters->low, filters->high);
}

void nn_apply(const nn_filters *filters, int32_t first, int32_t count, const int8_t *x, int8_t *output)
{
    const int32_t taps = filters->taps;
    const int32_t end = first + count;
    const int8_t *weights = filters->weights + first * taps;
    int32_t o = first;

    for (; o + 4 <= end; o += 4) {
        int32_t sum[4];
        for (int k = 0; k < 4; ++k) {
            sum[k] = filters->bias[o + k];
        }
        dot_4(x, weights, taps, sum);
        for (int k = 0; k < 4; ++k) {
            *output++ = finished(filters, o + k, sum[k]);
        }
        weights += 4 * taps;
    }
    for (; o < end; ++o) {
        *output++ = finished(filters, o, dot_1(x, weights, taps, filters->bias[o]));
        weights += taps;
    }
}
