/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernels that are generated for one shape share, for cores with the instructions of Armv6-M alone (Cortex-M0, M0+, M23).
 *
 * A word holds taps of two windows, the second one 65536 times. Its product with a weight holds both products, and the sum of two
 * such products still does: sums of two bytes' products stay below 2^15.
 */
#ifndef NN_V6M_H
#define NN_V6M_H

#include "nn.h"

/* With -DNN_V6M_EMULATED, any little-endian machine runs these kernels with their instructions spelled in C, for tests. */
#if defined(NN_V6M_EMULATED)
#define NN_V6M 1
#elif defined(__GNUC__) && defined(__thumb__) && !defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN) && defined(__ARM_ARCH_PROFILE)
#if __ARM_ARCH_PROFILE == 'M'
#define NN_V6M 1
#else
#define NN_V6M 0
#endif
#else
#define NN_V6M 0
#endif

#if NN_V6M

/* A function whose whole code, which reads its arguments' registers, is in its asm statement. */
#if !defined(NN_V6M_EMULATED)
#define NN_WHOLE __attribute__((naked, noinline))
#define NN_WHOLE_BEGIN _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wunused-parameter\"")
#define NN_WHOLE_END _Pragma("GCC diagnostic pop")
#endif

/* Two taps as a word, and the tap in its upper half. */
static inline int32_t nn_two(int32_t first, int32_t second)
{
    return (int32_t)((uint32_t)first + ((uint32_t)second << 16));
}

static inline int32_t nn_upper(int32_t word)
{
    return (int32_t)((uint32_t)word + 0x8000u) >> 16;
}

/* What weights that are 128 too large add to both sums of two taps with the sum `taps`, less half of 65536. */
static inline int32_t nn_rounded(int32_t taps)
{
    return (int32_t)((uint32_t)taps * 0x800080u - 0x8000u);
}

/* A kernel row of `taps` taps from (row, left) on of an input of rows x columns x channels; outside of it lies `zero`. */
static inline void nn_line(int8_t *to, const int8_t *input, int32_t row, int32_t left, int32_t rows, int32_t columns,
                           int32_t channels, int32_t taps, int8_t zero)
{
    const int32_t before = left < 0 ? -left : 0, last = columns - left;
    const int32_t first = before < taps ? before : taps, end = last < taps ? last : taps;
    const int8_t *const start = to + first * channels, *const stop = to + taps * channels;

    if (row < 0 || row >= rows || first >= end) {
        while (to != stop) {
            *to++ = zero;
        }
        return;
    }
    const int8_t *from = input + (row * columns + left + first) * channels;
    const int8_t *const inside = from + (end - first) * channels;

    while (to != start) {
        *to++ = zero;
    }
    while (from != inside) {
        *to++ = *from++;
    }
    while (to != stop) {
        *to++ = zero;
    }
}

#if defined(NN_V6M_EMULATED)

typedef struct {
    int32_t zero, low, high;
} nn_v6m_range;

static inline int32_t nn_multiplied(int32_t word, int32_t by)
{
    return (int32_t)((uint32_t)word * (uint32_t)by);
}

static inline int32_t nn_added(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

/* Adds the products of two taps of two windows to their total, and to the sum of the second window. */
static inline void nn_both(int32_t products, int32_t *total, int32_t *upper)
{
    const int32_t carry = (int32_t)((uint32_t)products >> 15 & 1u);

    *total = nn_added(*total, products);
    *upper = nn_added(*upper, (products >> 16) + carry);
}

static inline int32_t nn_lower(int32_t total, int32_t upper)
{
    return (int32_t)((uint32_t)total - ((uint32_t)upper << 16));
}

static inline int8_t nn_v6m_byte(int32_t sum, int32_t multiplier, int32_t shift, nn_v6m_range range)
{
    int32_t scaled = 0;

    for (int32_t i = 0; i < 4; ++i) {
        scaled = (scaled >> 8) + sum * (int32_t)((uint32_t)multiplier >> (8 * i) & 0xffu);
    }
    scaled = (scaled + (2 * (range.zero - range.low) + 1) * (1 << shift) / 2) >> shift;
    scaled = scaled < 0 ? 0 : scaled > range.high - range.low ? range.high - range.low : scaled;
    return (int8_t)(scaled + range.low);
}

static inline void nn_v6m_filters(const int32_t *columns, const int8_t *w, const int32_t *records, int8_t *const *out, int32_t steps,
                                  int32_t outputs, nn_v6m_range range)
{
    for (int32_t f = 0; f < outputs; ++f, records += 3) {
        const int8_t *weights = w + f / 8 * 16 * steps + f % 8 * 2;
        int32_t total[2] = {0, 0}, upper[2] = {0, 0};

        for (int32_t i = 0; i < steps; ++i, weights += 16) {
            for (int32_t k = 0; k < 2; ++k) {
                const int32_t *const x = columns + 4 * i + 2 * k;
                nn_both(nn_added(nn_multiplied(x[0], weights[0]), nn_multiplied(x[1], weights[1])), total + k, upper + k);
            }
        }
        for (int32_t k = 0; k < 4; ++k) {
            const int32_t sum = nn_added(k % 2 ? upper[k / 2] : nn_lower(total[k / 2], upper[k / 2]), records[0]);
            out[k][f] = nn_v6m_byte(sum, records[1], records[2], range);
        }
    }
}

/* `sums`: of earlier parts of the vector; without `out` they get those of this part. */
static inline void nn_v6m_linear(const int32_t *words, const uint32_t *w, const int32_t *records, int8_t *out, int32_t *sums,
                                 int32_t steps, int32_t outputs, nn_v6m_range range)
{
    for (int32_t f = 0; f < outputs; f += 4) {
        int32_t total[2] = {0, 0}, upper[2] = {0, 0};

        for (int32_t i = 0; i < 2 * steps; ++i, ++w) {
            const int32_t *const x = words + i / 2 * 3, odd = (int32_t)(*w >> 8 & 0xff00ffu);
            const int32_t products = nn_added(nn_multiplied((int32_t)*w, x[0]), nn_multiplied(odd, x[1]));
            const int32_t rounded = (int32_t)((uint32_t)products - (uint32_t)x[2]);

            total[i % 2] = nn_added(total[i % 2], rounded);
            upper[i % 2] = nn_added(upper[i % 2], rounded >> 16);
        }
        for (int32_t k = 0; k < 4; ++k) {
            int32_t sum = k % 2 ? upper[k / 2] : nn_lower(total[k / 2], upper[k / 2]);

            sum = sums ? nn_added(sum, sums[f + k]) : sum;
            if (!out) {
                sums[f + k] = sum;
            } else if (f + k < outputs) {
                const int32_t *const record = records + 3 * (f + k);
                out[f + k] = nn_v6m_byte(nn_added(sum, record[0]), record[1], record[2], range);
            }
        }
    }
}

#endif
#endif
#endif
