/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

/* Four filters at once share each element of the window. */
NN_KERNEL void nd_apply(const nd_filters *filters, int32_t first, int32_t count, const int8_t *q, nd_range range, float *output)
{
    const int32_t taps = filters->taps, zero = range.zero;
    const int8_t *w = filters->weights + first * taps;
    const int32_t end = first + count;
    int32_t filter = first;

    for (; filter + 4 <= end; filter += 4, output += 4) {
        const int8_t *w1 = w + taps, *w2 = w1 + taps, *w3 = w2 + taps;
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (int32_t i = 0; i < taps; ++i) {
            const int32_t x = q[i] - zero;
            s0 += w[i] * x;
            s1 += w1[i] * x;
            s2 += w2[i] * x;
            s3 += w3[i] * x;
        }
        output[0] = nd_output(filters, filter, s0, range.scale);
        output[1] = nd_output(filters, filter + 1, s1, range.scale);
        output[2] = nd_output(filters, filter + 2, s2, range.scale);
        output[3] = nd_output(filters, filter + 3, s3, range.scale);
        w = w3 + taps;
    }
    for (; filter < end; ++filter, w += taps) {
        *output++ = nd_output(filters, filter, nd_dot(w, q, taps, zero), range.scale);
    }
}
