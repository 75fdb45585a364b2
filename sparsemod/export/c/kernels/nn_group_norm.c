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
 * With n elements of a group, their sum and v = n * (sum of squares) - sum^2 + epsilon, which is n^2 times the variance:
 * z = (n * q - sum) / sqrt(v) in 4096ths, and y = clamp(zero + ((z * multiplier >> shift) + bias + 128 >> 8)).
 */
static void normalize(const nn_group_norm_layer *layer, int32_t first, int32_t count, const int8_t *input, int8_t *output)
{
    const int32_t n = layer->positions * count, step = layer->channels;
    const int32_t zero = layer->zero, low = layer->low, high = layer->high, shift = layer->shift;
    const int32_t *multiplier = layer->multiplier + first, *bias = layer->bias + first;
    int32_t sum = 0, squares = 0, down = 19;

    for (int32_t position = 0; position < layer->positions; ++position) {
        const int8_t *x = input + position * step;
        for (const int8_t *end = x + count; x != end; ++x) {
            sum += *x;
            squares += *x * *x;
        }
    }
    uint64_t variance = (uint64_t)((int64_t)n * squares - (int64_t)sum * sum + layer->epsilon);
    while (variance >> 32 != 0) {
        variance >>= 2;
        ++down;
    }
    uint32_t scaled = (uint32_t)variance;
    while (scaled < (uint32_t)1 << 30) {
        scaled <<= 2;
        --down;
    }
    const int32_t inverse = (int32_t)(((uint32_t)1 << 31) / root(scaled));
    const int64_t half = (int64_t)1 << (down - 1);
    for (int32_t position = 0; position < layer->positions; ++position) {
        const int8_t *x = input + position * step;
        int8_t *y = output + position * step;
        for (int32_t i = 0; i < count; ++i) {
            const int32_t z = (int32_t)(((int64_t)(n * x[i] - sum) * inverse + half) >> down);
            const int32_t value = (int32_t)((int64_t)z * multiplier[i] >> shift);
            y[i] = nn_clamped(((value + bias[i] + 128) >> 8) + zero, low, high);
        }
    }
}

NN_KERNEL void nn_group_norm(const nn_group_norm_layer *layer, const int8_t *input, int8_t *output)
{
    const int32_t count = layer->channels / layer->groups;

    for (int32_t run = layer->runs; run > 0; --run) {
        for (int32_t first = 0; first < layer->channels; first += count) {
            normalize(layer, first, count, input + first, output + first);
        }
        input += layer->positions * layer->channels;
        output += layer->positions * layer->channels;
    }
}
