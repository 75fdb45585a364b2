/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

NN_KERNEL nd_range nd_range_of(int32_t size, const float *input)
{
    nd_range range;
    float low = 0.0f, high = 0.0f;

    for (int32_t i = 0; i < size; ++i) {
        const float x = input[i];
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    range.scale = nd_quotient(nd_difference(high, low), 255.0f);
    if (range.scale < FLT_MIN) {
        range.scale = 1.0f;
    }
    const float point = nd_sum(nd_difference(-128.0f, nd_quotient(low, range.scale)), 0.5f);
    range.zero = (int32_t)point;
    if (nd_number(range.zero) > point) {
        --range.zero;
    }
    range.zero = nn_clamped(range.zero, -128, 127);
    return range;
}
