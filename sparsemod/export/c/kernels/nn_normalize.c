/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* The whole part of the square root. */
static uint32_t root(uint32_t square)
{
    uint32_t found = 0;

    for (uint32_t bit = (uint32_t)1 << 30; bit != 0; bit >>= 2) {
        if (square >= found + bit) {
            square -= found + bit;
            found = (found >> 1) + bit;
        } else {
            found >>= 1;
        }
    }
    return found;
}

/*
 * Vectors of length 1: y = clamp(floor((d * 128 * 2^k + length / 2) / length)), where length = root(sum of d^2 * 4^k) and k is the
 * largest number up to 8 at which the sum stays below 2^32 and the quotient fits.
 */
NN_KERNEL void nn_normalize(const nn_normalize_layer *layer, const int8_t *input, int8_t *output)
{
    const int32_t zero = layer->zero_in;

    for (int32_t run = 0; run < layer->runs; ++run, input += layer->size, output += layer->size) {
        uint32_t sum = 0;
        int32_t scaled = 128;

        for (int32_t i = 0; i < layer->size; ++i) {
            const int32_t d = input[i] - zero;
            sum += (uint32_t)(d * d);
        }
        while (sum < (uint32_t)1 << 30 && scaled < 128 << 8) {
            sum <<= 2;
            scaled *= 2;
        }
        const int32_t length = (int32_t)root(sum);
        for (int32_t i = 0; i < layer->size; ++i) {
            const int32_t d = input[i] - zero;
            const int32_t size = d < 0 ? -d : d;
            const int32_t share = length == 0 ? 0 : (size * scaled + length / 2) / length;
            output[i] = nn_clamped(d < 0 ? -share : share, INT8_MIN, INT8_MAX);
        }
    }
}
