/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps of the kernels that are generated for one shape, for cores with DSP instructions (Cortex-M4, M7, M33, ...).
 *
 * A halfword of weights is a + 256 b for the weights a and b of two filters. The halfwords times a window give
 * s = sum(a x) + 256 sum(b x); their low bytes alone, which SXTB16 extends, give sum(a x). So sum(b x) = (s - sum(a x)) / 256,
 * exactly while it fits into 24 bits, which the generator checks. Sums wrap around.
 *
 * The columns of two windows lie in words of two taps: word 0 of the first window, word 0 of the second, word 1 of the first, ...
 */
#ifndef NN_DSP_H
#define NN_DSP_H

#include "nn.h"

/* With -DNN_DSP_EMULATED, any little-endian machine runs these kernels with their instructions spelled in C, for tests. */
#if defined(NN_DSP_EMULATED)
#define NN_DSP 1
#elif NN_SIMD && defined(__GNUC__) && defined(__thumb2__)
#define NN_DSP 1
#else
#define NN_DSP 0
#endif

#if NN_DSP

/*
 * One instruction each, with at most four operands: a compiler finds registers for them in every function and at every level of
 * optimization, and stores other values in memory where it must. The instructions of long sums are volatile, which keeps the order of
 * the source: there 13 values at a time are in use, and a load that moved ahead would need one more.
 */
#if defined(NN_DSP_EMULATED)

static inline int32_t nn_pair(int32_t low, int32_t high)
{
    return (int32_t)(((uint32_t)low & 0xffffu) | (uint32_t)high << 16);
}

static inline int32_t nn_byte(uint32_t word, int32_t number)
{
    return (int8_t)(uint8_t)(word >> (8 * number));
}

/* Taps 0 and 2 of four bytes as a word of two halfwords, and taps 1 and 3. */
static inline int32_t nn_taps_even(uint32_t word)
{
    return nn_pair(nn_byte(word, 0), nn_byte(word, 2));
}

static inline int32_t nn_taps_odd(uint32_t word)
{
    return nn_pair(nn_byte(word, 1), nn_byte(word, 3));
}

static inline int32_t nn_half(int32_t pair, int32_t number)
{
    return (int16_t)(uint16_t)((uint32_t)pair >> (16 * number));
}

static inline int32_t nn_add_pairs(int32_t a, int32_t b, int32_t sum)
{
    const int64_t products = (int64_t)nn_half(a, 0) * nn_half(b, 0) + (int64_t)nn_half(a, 1) * nn_half(b, 1);
    return (int32_t)(uint32_t)((uint64_t)products + (uint32_t)sum);
}

#define nn_sum_pairs nn_add_pairs

static inline int32_t nn_add_low_high(int32_t a, int32_t b, int32_t sum)
{
    return (int32_t)((uint32_t)sum + (uint32_t)(nn_half(a, 0) * nn_half(b, 1)));
}

/* offset + the high word of sum * multiplier */
static inline int32_t nn_scaled(int32_t sum, int32_t multiplier, int32_t offset)
{
    return (int32_t)(offset + ((int64_t)sum * multiplier >> 32));
}

#define NN_BYTE(value, shift) nn_clamped((value) >> (shift), INT8_MIN, INT8_MAX)
#define NN_NEXT(to, from) ((to) = (int32_t)*(from)++)
#define NN_NEXT_BYTES(to, from) ((to) = (int32_t)nn_word(from), (from) += 4)
#define NN_NEXT_TWO(first, second, from) ((first) = (int32_t)(from)[0], (second) = (int32_t)(from)[1], (from) += 2)
#define NN_IN_MEMORY(value) ((void)0)

#else

#define NN_INSTRUCTION static inline __attribute__((always_inline)) int32_t

NN_INSTRUCTION nn_taps_even(uint32_t word)
{
    int32_t even;
    __asm__ volatile("sxtb16 %0, %1" : "=r"(even) : "r"(word));
    return even;
}

NN_INSTRUCTION nn_taps_odd(uint32_t word)
{
    int32_t odd;
    __asm__ volatile("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
    return odd;
}

NN_INSTRUCTION nn_pair(int32_t low, int32_t high)
{
    int32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(low), "r"(high));
    return pair;
}

/* sum + the products of both halves: in the order of the source, and wherever the compiler places it for short sums */
NN_INSTRUCTION nn_add_pairs(int32_t a, int32_t b, int32_t sum)
{
    __asm__ volatile("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

NN_INSTRUCTION nn_sum_pairs(int32_t a, int32_t b, int32_t sum)
{
    int32_t total;
    __asm__("smlad %0, %1, %2, %3" : "=r"(total) : "r"(a), "r"(b), "r"(sum));
    return total;
}

/* sum + the low half of `a` times the high half of `b` */
NN_INSTRUCTION nn_add_low_high(int32_t a, int32_t b, int32_t sum)
{
    int32_t total;
    __asm__("smlabt %0, %1, %2, %3" : "=r"(total) : "r"(a), "r"(b), "r"(sum));
    return total;
}

/* offset + the high word of sum * multiplier */
NN_INSTRUCTION nn_scaled(int32_t sum, int32_t multiplier, int32_t offset)
{
    int32_t scaled;
    __asm__("smmla %0, %1, %2, %3" : "=r"(scaled) : "r"(sum), "r"(multiplier), "r"(offset));
    return scaled;
}

#define NN_BYTE(value, shift)                                                                                         \
    (__extension__({                                                                                                  \
        int32_t byte_;                                                                                                \
        __asm__("ssat %0, #8, %1, asr %2" : "=r"(byte_) : "r"(value), "I"(shift));                                    \
        (int8_t)byte_;                                                                                                \
    }))
#define NN_NEXT(to, from) __asm__ volatile("ldr %0, [%1], #4" : "=r"(to), "+r"(from) : : "memory")
#define NN_NEXT_BYTES NN_NEXT
#define NN_NEXT_TWO(first, second, from)                                                                              \
    __asm__ volatile("ldrd %0, %1, [%2], #8" : "=r"(first), "=r"(second), "+r"(from) : : "memory")
/* Keeps a value out of the registers during the sums after it. */
#define NN_IN_MEMORY(value) __asm__ volatile("" : "+m"(value))

#endif

#define NN_TIMES_1(...) __VA_ARGS__
#define NN_TIMES_2(...) __VA_ARGS__ __VA_ARGS__
#define NN_TIMES_3(...) __VA_ARGS__ __VA_ARGS__ __VA_ARGS__
#define NN_TIMES_4(...) NN_TIMES_2(__VA_ARGS__) NN_TIMES_2(__VA_ARGS__)
#define NN_TIMES_5(...) NN_TIMES_4(__VA_ARGS__) __VA_ARGS__
#define NN_TIMES_6(...) NN_TIMES_3(__VA_ARGS__) NN_TIMES_3(__VA_ARGS__)
#define NN_TIMES_7(...) NN_TIMES_6(__VA_ARGS__) __VA_ARGS__
#define NN_TIMES_8(...) NN_TIMES_4(__VA_ARGS__) NN_TIMES_4(__VA_ARGS__)
#define NN_TIMES_9(...) NN_TIMES_8(__VA_ARGS__) __VA_ARGS__
#define NN_TIMES_10(...) NN_TIMES_8(__VA_ARGS__) NN_TIMES_2(__VA_ARGS__)

/* Two taps of two windows (x0, x1) with two filters (joint sums s, sums a of the first): 8 multiply-adds in 6 instructions. */
#define NN_PAIR_2(s, a)                                                                                               \
    NN_NEXT(v_, w);                                                                                                   \
    s##0 = nn_add_pairs(v_, x0_, s##0);                                                                               \
    s##1 = nn_add_pairs(v_, x1_, s##1);                                                                               \
    v_ = nn_taps_even((uint32_t)v_);                                                                                  \
    a##0 = nn_add_pairs(v_, x0_, a##0);                                                                               \
    a##1 = nn_add_pairs(v_, x1_, a##1);
#define NN_STEP_2(...)                                                                                                \
    {                                                                                                                 \
        int32_t x0_, x1_, v_;                                                                                         \
        NN_NEXT_TWO(x0_, x1_, x);                                                                                     \
        __VA_ARGS__                                                                                                     \
    }
#define NN_STEP_2X4 NN_STEP_2(NN_PAIR_2(s, a) NN_PAIR_2(t, c))
#define NN_STEP_2X2 NN_STEP_2(NN_PAIR_2(s, a))

/* Two taps of one window (x0) with two filters, with eight filters, and with two filters for each turn of a loop. */
#define NN_PAIRS_1X2                                                                                                  \
    {                                                                                                                 \
        int32_t v_;                                                                                                   \
        NN_NEXT(v_, w);                                                                                               \
        s0 = nn_add_pairs(v_, x0_, s0);                                                                               \
        v_ = nn_taps_even((uint32_t)v_);                                                                              \
        a0 = nn_add_pairs(v_, x0_, a0);                                                                               \
    }
#define NN_FOUR_1(s, a, t, c)                                                                                         \
    {                                                                                                                 \
        int32_t v_, u_;                                                                                               \
        NN_NEXT_TWO(v_, u_, w);                                                                                       \
        s = nn_add_pairs(v_, x0_, s);                                                                                 \
        t = nn_add_pairs(u_, x0_, t);                                                                                 \
        v_ = nn_taps_even((uint32_t)v_);                                                                              \
        u_ = nn_taps_even((uint32_t)u_);                                                                              \
        a = nn_add_pairs(v_, x0_, a);                                                                                 \
        c = nn_add_pairs(u_, x0_, c);                                                                                 \
    }
#define NN_PAIRS_1X8 NN_FOUR_1(s0, a0, s1, a1) NN_FOUR_1(t0, c0, t1, c1)
#define NN_TAPS_1(taps, ...)                                                                                          \
    {                                                                                                                 \
        const int32_t x0_ = (taps);                                                                                   \
        __VA_ARGS__                                                                                                   \
    }
/* Four taps; they are read twice, which takes one register less. */
#define NN_STEP_1(...)                                                                                                \
    NN_TAPS_1(nn_taps_even(nn_word(x)), __VA_ARGS__)                                                                  \
    {                                                                                                                 \
        int32_t x0_;                                                                                                  \
        NN_NEXT_BYTES(x0_, x);                                                                                        \
        x0_ = nn_taps_odd((uint32_t)x0_);                                                                             \
        __VA_ARGS__                                                                                                   \
    }
#define NN_STEP_1X8 NN_STEP_1(NN_PAIRS_1X8)
#define NN_STEP_1X2 NN_STEP_1(NN_PAIRS_1X2)

/* The second of two filters: its sum times 2^(8 - shift), from the joint sum and the first filter's. */
static inline int32_t nn_second(int32_t joint, int32_t first, int32_t shift)
{
    return (int32_t)((uint32_t)joint - (uint32_t)first) >> shift;
}

static inline int32_t nn_doubled(int32_t sum, int32_t times)
{
    return (int32_t)((uint32_t)sum << times);
}

/* Appends `count` bytes of two windows to their columns. A constant count leaves only the code that it needs. */
static inline __attribute__((always_inline)) int32_t *nn_columns(int32_t *to, const int8_t *p0, const int8_t *p1, int32_t count)
{
    const int8_t *const end = p0 + (count & ~3);

    for (; p0 != end; p0 += 4, p1 += 4, to += 4) {
        const uint32_t u = nn_word(p0), v = nn_word(p1);
        to[0] = nn_taps_even(u);
        to[1] = nn_taps_even(v);
        to[2] = nn_taps_odd(u);
        to[3] = nn_taps_odd(v);
    }
    if (count & 2) {
        to[0] = nn_pair(p0[0], p0[1]);
        to[1] = nn_pair(p1[0], p1[1]);
        p0 += 2;
        p1 += 2;
        to += 2;
    }
    if (count & 1) {
        to[0] = *p0;
        to[1] = *p1;
        to += 2;
    }
    return to;
}

/* A kernel row of `taps` taps from (row, left) on of an input of rows x columns x channels; outside of it lies `zero`. */
static inline void nn_kernel_row(int8_t *to, const int8_t *input, int32_t row, int32_t left, int32_t rows, int32_t columns,
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

#endif
#endif
