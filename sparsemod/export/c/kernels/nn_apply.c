/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

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

/* Filters whose weights are all stored. */
NN_KERNEL void nn_apply(const nn_filters *filters, int32_t first, int32_t count, const int8_t *x, int8_t *output)
{
    const int32_t taps = filters->taps;
    const int32_t end = first + count;
    const int8_t *stop = x + (taps & ~3);
    const int8_t *w = filters->weights + first * taps;

    for (; first + 4 <= end; first += 4, output += 4) {
        const int32_t *bias = filters->bias + first;
        const int8_t *tap = x;
        int32_t s0 = bias[0], s1 = bias[1], s2 = bias[2], s3 = bias[3];

        for (; tap != stop; tap += 4, w += 16) {
#if NN_SIMD
            const int16x2_t even = nn_even(nn_word(tap)), odd = nn_odd(nn_word(tap));
            s0 = __smlad(nn_odd(nn_word(w)), odd, __smlad(nn_even(nn_word(w)), even, s0));
            s1 = __smlad(nn_odd(nn_word(w + 4)), odd, __smlad(nn_even(nn_word(w + 4)), even, s1));
            s2 = __smlad(nn_odd(nn_word(w + 8)), odd, __smlad(nn_even(nn_word(w + 8)), even, s2));
            s3 = __smlad(nn_odd(nn_word(w + 12)), odd, __smlad(nn_even(nn_word(w + 12)), even, s3));
#else
            s0 += tap[0] * w[0];
            s1 += tap[0] * w[4];
            s2 += tap[0] * w[8];
            s3 += tap[0] * w[12];
            s0 += tap[1] * w[1];
            s1 += tap[1] * w[5];
            s2 += tap[1] * w[9];
            s3 += tap[1] * w[13];
            s0 += tap[2] * w[2];
            s1 += tap[2] * w[6];
            s2 += tap[2] * w[10];
            s3 += tap[2] * w[14];
            s0 += tap[3] * w[3];
            s1 += tap[3] * w[7];
            s2 += tap[3] * w[11];
            s3 += tap[3] * w[15];
#endif
        }
        for (int32_t i = taps & 3; i > 0; --i, ++tap, w += 4) {
            s0 += *tap * w[0];
            s1 += *tap * w[1];
            s2 += *tap * w[2];
            s3 += *tap * w[3];
        }
        nn_output_4(filters, first, (nn_sums){s0, s1, s2, s3}, output);
    }
    for (; first < end; ++first, w += taps) {
        *output++ = nn_output(filters, first, single(x, w, taps, filters->bias[first]));
    }
}
