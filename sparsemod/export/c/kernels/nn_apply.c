/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Adds four filters' products with the window `x` to `sum`; returns where the weights end. */
static const int8_t *block_of_4(const int8_t *x, const int8_t *w, int32_t taps, int32_t sum[4])
{
    int32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
    const int8_t *end = x + taps;

    for (const int8_t *stop = x + (taps & ~3); x != stop; x += 4, w += 16) {
#if NN_SIMD
        const int16x2_t even = nn_even(nn_word(x)), odd = nn_odd(nn_word(x));
        s0 = __smlad(nn_odd(nn_word(w)), odd, __smlad(nn_even(nn_word(w)), even, s0));
        s1 = __smlad(nn_odd(nn_word(w + 4)), odd, __smlad(nn_even(nn_word(w + 4)), even, s1));
        s2 = __smlad(nn_odd(nn_word(w + 8)), odd, __smlad(nn_even(nn_word(w + 8)), even, s2));
        s3 = __smlad(nn_odd(nn_word(w + 12)), odd, __smlad(nn_even(nn_word(w + 12)), even, s3));
#else
        const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
        s0 += x0 * w[0] + x1 * w[1] + x2 * w[2] + x3 * w[3];
        s1 += x0 * w[4] + x1 * w[5] + x2 * w[6] + x3 * w[7];
        s2 += x0 * w[8] + x1 * w[9] + x2 * w[10] + x3 * w[11];
        s3 += x0 * w[12] + x1 * w[13] + x2 * w[14] + x3 * w[15];
#endif
    }
    for (; x != end; ++x, w += 4) {
        const int32_t value = *x;
        s0 += value * w[0];
        s1 += value * w[1];
        s2 += value * w[2];
        s3 += value * w[3];
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
    return w;
}

static int32_t single(const int8_t *x, const int8_t *w, int32_t taps, int32_t sum)
{
    const int8_t *end = x + taps;

#if NN_SIMD
    for (const int8_t *stop = x + (taps & ~3); x != stop; x += 4, w += 4) {
        const uint32_t word = nn_word(x), weights = nn_word(w);
        sum = __smlad(nn_odd(weights), nn_odd(word), __smlad(nn_even(weights), nn_even(word), sum));
    }
#endif
    for (; x != end; ++x, ++w) {
        sum += *x * *w;
    }
    return sum;
}

void nn_apply(const nn_filters *filters, int32_t first, int32_t count, const int8_t *x, int8_t *output)
{
    const int32_t taps = filters->taps;
    const int32_t end = first + count;
    const int8_t *w = filters->weights + first * taps;

    for (; first + 4 <= end; first += 4) {
        int32_t sum[4];
        memcpy(sum, filters->bias + first, sizeof sum);
        w = block_of_4(x, w, taps, sum);
        for (int32_t k = 0; k < 4; ++k) {
            *output++ = nn_output(filters, first + k, sum[k]);
        }
    }
    for (; first < end; ++first, w += taps) {
        *output++ = nn_output(filters, first, single(x, w, taps, filters->bias[first]));
    }
}
