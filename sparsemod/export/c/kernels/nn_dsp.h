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

#if NN_DSP

/* Taps 0 and 2 of four bytes as a word of two halfwords, and taps 1 and 3. */
static inline int32_t nn_taps_even(uint32_t word);
static inline int32_t nn_taps_odd(uint32_t word);

#if defined(NN_DSP_EMULATED)

static inline int32_t nn_pair(int32_t low, int32_t high)
{
    return (int32_t)(((uint32_t)low & 0xffffu) | (uint32_t)high << 16);
}

static inline int32_t nn_byte(uint32_t word, int32_t number)
{
    return (int8_t)(uint8_t)(word >> (8 * number));
}

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

/* Two filters (sums s and a) on a word of taps `x0` of one window and `x1` of another one, or of one window alone. */
#define NN_PAIR_2(s0, a0, s1, a1, x0, x1)                                                                             \
    do {                                                                                                              \
        const int32_t raw_ = (int32_t)*w++, low_ = nn_taps_even((uint32_t)raw_);                                      \
        s0 = nn_add_pairs(raw_, x0, s0);                                                                              \
        s1 = nn_add_pairs(raw_, x1, s1);                                                                              \
        a0 = nn_add_pairs(low_, x0, a0);                                                                              \
        a1 = nn_add_pairs(low_, x1, a1);                                                                              \
    } while (0)
#define NN_PAIR_1(s, a, x0)                                                                                           \
    do {                                                                                                              \
        const int32_t raw_ = (int32_t)*w++;                                                                           \
        s = nn_add_pairs(raw_, x0, s);                                                                                \
        a = nn_add_pairs(nn_taps_even((uint32_t)raw_), x0, a);                                                        \
    } while (0)

#define NN_WINDOWS_2X4(count)                                                                                         \
    for (int32_t step_ = 0; step_ < (count); ++step_, x += 2) {                                                       \
        NN_PAIR_2(s0, a0, s1, a1, x[0], x[1]);                                                                        \
        NN_PAIR_2(t0, c0, t1, c1, x[0], x[1]);                                                                        \
    }
#define NN_WINDOWS_2X2(count)                                                                                         \
    for (int32_t step_ = 0; step_ < (count); ++step_, x += 2) {                                                       \
        NN_PAIR_2(s0, a0, s1, a1, x[0], x[1]);                                                                        \
    }
#define NN_LOOP_2X4(count, loops) NN_WINDOWS_2X4((count) * (loops))
#define NN_LOOP_2X2(count, loops) NN_WINDOWS_2X2((count) * (loops))

#define NN_TAPS_1X8(x0)                                                                                               \
    NN_PAIR_1(s0, a0, x0);                                                                                            \
    NN_PAIR_1(s1, a1, x0);                                                                                            \
    NN_PAIR_1(t0, c0, x0);                                                                                            \
    NN_PAIR_1(t1, c1, x0)
#define NN_TAPS_1X2(x0) NN_PAIR_1(s0, a0, x0)
#define NN_LOOP_1X8(count, loops)                                                                                          \
    for (int32_t step_ = 0; step_ < (count) * (loops); ++step_, x += 4) {                                                       \
        NN_TAPS_1X8(nn_taps_even(nn_word(x)));                                                                        \
        NN_TAPS_1X8(nn_taps_odd(nn_word(x)));                                                                         \
    }
#define NN_LOOP_1X2(count, loops)                                                                                          \
    for (int32_t step_ = 0; step_ < (count) * (loops); ++step_, x += 4) {                                                       \
        NN_TAPS_1X2(nn_taps_even(nn_word(x)));                                                                        \
        NN_TAPS_1X2(nn_taps_odd(nn_word(x)));                                                                         \
    }

#else

static inline int32_t nn_taps_even(uint32_t word)
{
    int32_t even;
    __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(word));
    return even;
}

static inline int32_t nn_taps_odd(uint32_t word)
{
    int32_t odd;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
    return odd;
}

static inline int32_t nn_pair(int32_t low, int32_t high)
{
    int32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(low), "r"(high));
    return pair;
}

/* sum + the products of both halves, and sum + the low half of `a` times the high half of `b` */
static inline int32_t nn_add_pairs(int32_t a, int32_t b, int32_t sum)
{
    int32_t total;
    __asm__("smlad %0, %1, %2, %3" : "=r"(total) : "r"(a), "r"(b), "r"(sum));
    return total;
}

static inline int32_t nn_add_low_high(int32_t a, int32_t b, int32_t sum)
{
    int32_t total;
    __asm__("smlabt %0, %1, %2, %3" : "=r"(total) : "r"(a), "r"(b), "r"(sum));
    return total;
}

static inline int32_t nn_scaled(int32_t sum, int32_t multiplier, int32_t offset)
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

#define NN_TIMES_1(text) text
#define NN_TIMES_2(text) text text
#define NN_TIMES_3(text) text text text
#define NN_TIMES_4(text) NN_TIMES_2(text) NN_TIMES_2(text)
#define NN_TIMES_5(text) NN_TIMES_4(text) text
#define NN_TIMES_6(text) NN_TIMES_3(text) NN_TIMES_3(text)
#define NN_TIMES_7(text) NN_TIMES_6(text) text
#define NN_TIMES_8(text) NN_TIMES_4(text) NN_TIMES_4(text)
#define NN_TIMES_9(text) NN_TIMES_8(text) text
#define NN_TIMES_10(text) NN_TIMES_8(text) NN_TIMES_2(text)

/* Two taps of two windows with two filters: 8 multiply-adds in 6 instructions and the load of the taps. */
#define NN_PAIR_2(s, a)                                                                                               \
    "ldr %[v], [%[w]], #4\n smlad %[" s "0], %[v], %[x0], %[" s "0]\n smlad %[" s "1], %[v], %[x1], %[" s "1]\n"      \
    "sxtb16 %[v], %[v]\n smlad %[" a "0], %[v], %[x0], %[" a "0]\n smlad %[" a "1], %[v], %[x1], %[" a "1]\n"
#define NN_STEP_2X2 "ldrd %[x0], %[x1], [%[x]], #8\n" NN_PAIR_2("s", "a")
#define NN_STEP_2X4 NN_STEP_2X2 NN_PAIR_2("t", "c")

/* The end of a loop lies in memory, so that 13 registers suffice. */
#define NN_ASSEMBLER(text, sums, inputs)                                                                              \
    do {                                                                                                              \
        int32_t x0_, x1_, v_;                                                                                         \
        __asm__ volatile(text                                                                                         \
                         : sums, [x] "+r"(x), [w] "+r"(w), [x0] "=&r"(x0_), [x1] "=&r"(x1_), [v] "=&r"(v_)            \
                         : inputs                                                                                     \
                         : "memory", "cc");                                                                           \
    } while (0)
#define NN_SUMS_2 [s0] "+r"(s0), [a0] "+r"(a0), [s1] "+r"(s1), [a1] "+r"(a1)
#define NN_SUMS_4 NN_SUMS_2, [t0] "+r"(t0), [c0] "+r"(c0), [t1] "+r"(t1), [c1] "+r"(c1)
#define NN_LIST(...) __VA_ARGS__
#define NN_LOOP(text) "1:\n" text "ldr %[v], %[end]\n cmp %[x], %[v]\n bne 1b\n"

#define NN_WINDOWS_2X4(count) NN_ASSEMBLER(NN_TIMES_##count(NN_STEP_2X4), NN_LIST(NN_SUMS_4), )
#define NN_WINDOWS_2X2(count) NN_ASSEMBLER(NN_TIMES_##count(NN_STEP_2X2), NN_LIST(NN_SUMS_2), )
#define NN_LOOP_2X4(count, loops)                                                                                     \
    do {                                                                                                              \
        const int32_t *const end_ = x + 2 * (count) * (loops);                                                        \
        NN_ASSEMBLER(NN_LOOP(NN_TIMES_##count(NN_STEP_2X4)), NN_LIST(NN_SUMS_4), [end] "m"(end_));                               \
    } while (0)
#define NN_LOOP_2X2(count, loops)                                                                                     \
    do {                                                                                                              \
        const int32_t *const end_ = x + 2 * (count) * (loops);                                                        \
        NN_ASSEMBLER(NN_LOOP(NN_TIMES_##count(NN_STEP_2X2)), NN_LIST(NN_SUMS_2), [end] "m"(end_));                               \
    } while (0)

/* Two taps of one window with two filters, and with four filters. */
#define NN_PAIR_1(s, a)                                                                                               \
    "ldr %[v], [%[w]], #4\n smlad %[" s "], %[v], %[x0], %[" s "]\n sxtb16 %[v], %[v]\n"                              \
    "smlad %[" a "], %[v], %[x0], %[" a "]\n"
#define NN_FOUR_1(s, a, t, c)                                                                                         \
    "ldrd %[v], %[u], [%[w]], #8\n smlad %[" s "], %[v], %[x0], %[" s "]\n smlad %[" t "], %[u], %[x0], %[" t "]\n"   \
    "sxtb16 %[v], %[v]\n sxtb16 %[u], %[u]\n"                                                                         \
    "smlad %[" a "], %[v], %[x0], %[" a "]\n smlad %[" c "], %[u], %[x0], %[" c "]\n"
/* Four taps; they are read twice, so that 13 registers suffice. */
#define NN_TAPS_1(pairs)                                                                                              \
    "ldr %[x0], [%[x]]\n sxtb16 %[x0], %[x0]\n" pairs "ldr %[x0], [%[x]], #4\n sxtb16 %[x0], %[x0], ror #8\n" pairs
#define NN_PAIRS_1X2 NN_PAIR_1("s0", "a0")
#define NN_PAIRS_1X8 NN_FOUR_1("s0", "a0", "s1", "a1") NN_FOUR_1("t0", "c0", "t1", "c1")
#define NN_VECTOR(text, count, loops, sums)                                                                           \
    do {                                                                                                              \
        const int8_t *const end_ = x + 4 * (count) * (loops);                                                         \
        int32_t x0_, v_, u_;                                                                                          \
        __asm__ volatile(NN_LOOP(NN_TIMES_##count(text))                                                              \
                         : sums, [x] "+r"(x), [w] "+r"(w), [x0] "=&r"(x0_), [v] "=&r"(v_), [u] "=&r"(u_)              \
                         : [end] "m"(end_)                                                                            \
                         : "memory", "cc");                                                                           \
    } while (0)
#define NN_LOOP_1X8(count, loops) NN_VECTOR(NN_TAPS_1(NN_PAIRS_1X8), count, loops, NN_LIST(NN_SUMS_4))
#define NN_LOOP_1X2(count, loops)                                                                                     \
    NN_VECTOR(NN_TAPS_1(NN_PAIRS_1X2), count, loops, NN_LIST([s0] "+r"(s0), [a0] "+r"(a0)))
#define NN_PAIRS(pairs, taps, sums)                                                                                   \
    do {                                                                                                              \
        int32_t v_, u_;                                                                                               \
        __asm__ volatile(pairs : sums, [w] "+r"(w), [v] "=&r"(v_), [u] "=&r"(u_) : [x0] "r"(taps) : "memory");                       \
    } while (0)
#define NN_TAPS_1X8(taps) NN_PAIRS(NN_PAIRS_1X8, taps, NN_LIST(NN_SUMS_4))
#define NN_TAPS_1X2(taps) NN_PAIRS(NN_PAIRS_1X2, taps, NN_LIST([s0] "+r"(s0), [a0] "+r"(a0)))

#endif

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
