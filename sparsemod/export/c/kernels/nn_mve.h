/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps of the kernels that are generated for one shape, for cores with Helium, the vector extension of Armv8.1-M (Cortex-M55, ...).
 *
 * The constants of a group of filters: weights, 16 taps of each filter after the other, or what is left of them for the last taps;
 * then, of four filters at a time, the sums' first values, the multipliers, and the negative shifts of the doubled high words.
 * Outputs are
 *     clamp(zero + ((sum * multiplier >> 31) + 2^(shift - 1) >> shift))
 * which is the definition for all shifts from 1 on: see nn_requantized_small. For smaller shifts the sums are shifted to the left first.
 */
#ifndef NN_MVE_H
#define NN_MVE_H

#include "nn.h"

/*
 * Without optimization a compiler has too few registers left for the kernels. With -DNN_MVE_EMULATED, any little-endian machine runs
 * them with their instructions spelled in C, for tests.
 */
#if defined(NN_MVE_EMULATED)
#define NN_MVE 1
#elif defined(__ARM_FEATURE_MVE) && defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
#define NN_MVE 1
#else
#define NN_MVE 0
#endif

/* The filters of one layer: constants from `w` on, those of the whole groups before `end`; 65536 times the distance of the outputs of two
 * windows (4 for one window); and the output's zero point. */
typedef struct {
    const int8_t *w, *end;
    int32_t step;
    int32_t zero;
} nn_mve_filters;

#if NN_MVE

/*
 * Functions with instructions of their own: none of them is part of another function, because the compiler has no name for the predicate
 * that they change. At calls it expects the change.
 */
#if defined(NN_MVE_EMULATED)
#define NN_MVE_APART
#else
#define NN_MVE_APART __attribute__((noipa))
#endif

#if defined(NN_MVE_EMULATED)

typedef struct {
    int32_t windows;   /* 1 or 2 */
    int32_t groups;    /* whether there are whole groups */
    int32_t rest;      /* filters of the last group, which is not a whole one */
    int32_t rows, run; /* runs of taps, and the taps of each */
    int32_t low, high, left;
} nn_mve_loops;

static inline int32_t nn_mve_word(const int8_t *from)
{
    return (int32_t)nn_word(from);
}

static inline int8_t nn_mve_output(int32_t sum, int32_t multiplier, int32_t shift, int32_t zero, int32_t low, int32_t high)
{
    const int32_t doubled = (int32_t)((int64_t)sum * multiplier >> 31);
    const int64_t value = ((doubled + ((int64_t)1 << (shift - 1))) >> shift) + zero;

    return nn_clamped(value < INT8_MIN ? INT8_MIN : value > INT8_MAX ? INT8_MAX : (int32_t)value, low, high);
}

/* A group of `count` filters, of which the constants have room for four or eight; returns the end of the constants. */
static inline const int8_t *nn_mve_group(const nn_mve_loops *loops, const nn_mve_filters *filters, int32_t count, const int8_t *const *x, int32_t jump, const int8_t *w, int8_t *out)
{
    uint32_t sums[8] = {0};
    const int32_t lanes = loops->windows == 2 || count <= 4 ? 4 : 8;
    const int32_t distance = filters->step >> 16;

    for (int32_t row = 0; row < loops->rows; ++row) {
        for (int32_t tap = 0; tap < loops->run; tap += 16) {
            const int32_t taps = loops->run - tap < 16 ? loops->run - tap : 16;
            for (int32_t k = 0; k < count; ++k) {
                for (int32_t i = 0; i < taps; ++i, ++w) {
                    for (int32_t window = 0; window < loops->windows; ++window) {
                        sums[4 * window + k] += (uint32_t)(*w * x[window][row * (loops->run + jump) + tap + i]);
                    }
                }
            }
        }
    }
    for (int32_t window = 0; window < loops->windows; ++window) {
        for (int32_t k = 0; k < count; ++k) {
            const int32_t sum = (int32_t)((sums[4 * window + k] + nn_word(w + 4 * k)) << loops->left);
            const int32_t place = loops->windows == 2 ? window * distance + k : k < 4 ? k : distance + k - 4;
            out[place] = nn_mve_output(sum, nn_mve_word(w + 4 * (lanes + k)), -w[8 * lanes + k], filters->zero, loops->low, loops->high);
        }
    }
    return w + 9 * lanes;
}

static inline void nn_mve_apply(const nn_mve_loops *loops, const int8_t *x0, const int8_t *x1, int8_t *out, const nn_mve_filters *filters, int32_t jump)
{
    const int8_t *const x[2] = {x0, x1}, *w = filters->w;
    const int32_t group = loops->windows == 2 ? 4 : 8;

    while (loops->groups && w != filters->end) {
        w = nn_mve_group(loops, filters, group, x, jump, w, out);
        out += group;
    }
    if (loops->rest) {
        (void)nn_mve_group(loops, filters, loops->rest, x, jump, w, out);
    }
}

/* Copies `count` bytes; zeros may follow, up to 16 bytes from the last whole 16 on. */
static inline void nn_mve_copy(int8_t *to, const int8_t *from, int32_t count)
{
    memcpy(to, from, (size_t)count);
    if (count % 16) {
        memset(to + count, 0, (size_t)(16 - count % 16));
    }
}

static inline void nn_mve_span(int8_t *to, const int8_t *from, int32_t count)
{
    memcpy(to, from, (size_t)count);
}

static inline void nn_mve_fill(int8_t *to, int32_t value, int32_t count)
{
    memset(to, value, (size_t)count);
}

#else

#include <arm_mve.h>

#define NN_MVE_INLINE static inline __attribute__((always_inline))

NN_MVE_INLINE void nn_mve_copy(int8_t *to, const int8_t *from, int32_t count)
{
    int32_t i = 0;

    for (; i + 16 <= count; i += 16) {
        vstrbq_s8(to + i, vldrbq_s8(from + i));
    }
    if (i < count) {
        vstrbq_s8(to + i, vldrbq_z_s8(from + i, vctp8q((uint32_t)(count - i))));
    }
}

/* GCC 12 takes a store of some bytes for one of all 16, and drops earlier stores of the others. This ends its view of them. */
#define NN_MVE_KEEP() __asm__ volatile("" : : : "memory")

/* Copies `count` bytes, and writes no others. */
NN_MVE_INLINE void nn_mve_span(int8_t *to, const int8_t *from, int32_t count)
{
    for (; count > 0; count -= 16, to += 16, from += 16) {
        const mve_pred16_t some = vctp8q((uint32_t)count);
        NN_MVE_KEEP();
        vstrbq_p_s8(to, vldrbq_z_s8(from, some), some);
    }
}

NN_MVE_INLINE void nn_mve_fill(int8_t *to, int32_t value, int32_t count)
{
    const int8x16_t values = vdupq_n_s8((int8_t)value);

    for (; count >= 16; count -= 16, to += 16) {
        vstrbq_s8(to, values);
    }
    if (count > 0) {
        NN_MVE_KEEP();
        vstrbq_p_s8(to, values, vctp8q((uint32_t)count));
    }
}

#endif

#endif

#endif
