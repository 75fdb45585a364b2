/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of int8 networks. Exact integer arithmetic: every compiler and core gives the same bytes.
 *
 * Tensors lie channels last: element (row, column, channel) of R x C x N is at (row * C + column) * N + channel.
 * Real value = (q - zero point) * scale. `>>` of a negative number must be the arithmetic shift, as with GCC,
 * Clang, IAR and Arm compilers. Kernels need no memory but what they are given, and no state.
 */
#ifndef NN_H
#define NN_H

#include <stdint.h>
#include <string.h>

/* Versions: a kernel's symbol ends in a digest of the sources of all kernels. */

/* Several models in one firmware share the kernels of one version, wherever those were compiled. */
#if defined(__ICCARM__)
#define NN_KERNEL __weak
#elif defined(__GNUC__) && !defined(_WIN32)
#define NN_KERNEL __attribute__((weak))
#else
#define NN_KERNEL
#endif

/*
 * Cores with instructions on four bytes at once: Cortex-M4, M7, M33, M55, ... Big-endian ones run the portable loops,
 * because the first byte of a word is its highest there.
 */
#if defined(__ARM_FEATURE_SIMD32) && defined(__ARM_FEATURE_DSP) && !defined(__ARM_BIG_ENDIAN)
#include <arm_acle.h>
#define NN_SIMD 1
#else
#define NN_SIMD 0
#endif

/* Called after each layer of a network when compiled with -DNN_PROFILE; yours to define: read a timer. */
#if defined(NN_PROFILE) && !defined(NN_LAYER_DONE)
void nn_profile(int layer);
#define NN_LAYER_DONE(layer) nn_profile(layer)
#elif !defined(NN_LAYER_DONE)
#define NN_LAYER_DONE(layer) ((void)0)
#endif

/* How a window moves over a tensor. Columns of padding on the right and rows below need no field. */
typedef struct {
    uint16_t in_rows, in_columns, channels;
    uint16_t out_rows, out_columns;
    uint16_t kernel_rows, kernel_columns;
    uint16_t stride_rows, stride_columns;
    uint16_t dilation_rows, dilation_columns;
    uint16_t pad_top, pad_left;
} nn_window;

/*
 * `outputs` filters of `taps` weights each. Output o of a window x is
 *     clamp(zero + round((bias[o] + sum of weights[o][i] * x[i]) * multiplier[o] * 2^-(shift[o] + 33)))
 * where `bias` has the input's zero point folded in: bias - input zero point * sum of weights.
 *
 * Order of the weights of a group: filters in blocks of four, in each block taps in blocks of four,
 *     [filter / 4][tap / 4][filter % 4][tap % 4], the last taps % 4 taps [tap][filter % 4], then
 *     the last outputs % 4 filters one after another, [filter][tap].
 * Depthwise: [tap][channel]. With an index only nonzero weights are stored, [filter][tap].
 */
typedef struct nn_filters nn_filters;

struct nn_filters {
    /* Writes `count` outputs from number `first` on for the window `x`: one of the nn_apply functions below. */
    void (*apply)(const nn_filters *filters, int32_t first, int32_t count, const int8_t *x, int8_t *output);
    const int8_t *weights;
    const uint8_t *index; /* which weights are stored; NULL for all */
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t taps;
    int32_t outputs;
    int8_t zero, low, high; /* of the output */
};

typedef struct {
    nn_filters filters;
    nn_window window;
    uint16_t groups;
    int8_t zero_in; /* what lies outside of the input */
} nn_conv_layer;

typedef struct {
    nn_window window;
    int16_t zero_in;
    uint16_t pad_bottom, pad_right;
    uint16_t count_padding; /* whether the mean counts the stated padding */
} nn_pool_layer;

typedef struct {
    int32_t positions, channels;
    int32_t offset; /* -zero point of the input * positions */
    int32_t multiplier;
    int8_t shift, zero;
} nn_mean_layer;

/* y = clamp(zero + (q1 * multiplier[0] + q2 * multiplier[1] + offset) >> shift); see nn_add.c */
typedef struct {
    int32_t size;
    int32_t multiplier[2];
    int32_t offset;
    int8_t shift, zero, low, high;
} nn_add_layer;

/* One input of a concatenation: `rows` runs of `run` bytes, `stride` bytes apart in the output. */
typedef struct {
    int32_t rows, run, stride;
    int32_t multiplier, offset;
    int8_t shift, zero, low, high;
} nn_part_layer;

/* y = clamp(zero + (d * m + 2^(shift - 1)) >> shift) with d = q - zero_in, and m = positive for d >= 0, else slopes[channel]. */
typedef struct {
    int32_t positions, channels;
    const int32_t *slopes;
    int32_t positive;
    int8_t shift, zero_in, zero;
} nn_prelu_layer;

/*
 * Two tensors, element by element. Sizes are those of the output; `step` is the distance in the first and the second input
 * of two rows, of two columns and of two channels: 0 where the input is repeated.
 * nn_combine: y = clamp(zero + (a op b + offset) >> shift) with a = (q1 - zero_in[0]) * multiplier[0], b in the same way;
 * nn_multiply: y = clamp(zero + round((q1 - zero_in[0]) * (q2 - zero_in[1]) * multiplier[0] * 2^-(shift + 33))).
 */
typedef struct {
    int32_t rows, columns, channels;
    int32_t step[2][3];
    int32_t multiplier[2];
    int32_t offset;
    int16_t zero_in[2];
    int8_t operation; /* NN_SUM, NN_LARGER, NN_SMALLER */
    int8_t shift, zero, low, high;
} nn_pair_layer;

enum { NN_SUM, NN_LARGER, NN_SMALLER };

/* Element (i, j, ...) of the output is that at offset + i * step[0] + j * step[1] + ... of the input. */
#define NN_MOVE_AXES 6
typedef struct {
    int32_t offset;
    int32_t size[NN_MOVE_AXES];
    int32_t step[NN_MOVE_AXES];
} nn_move_layer;

/* Element (r, c, k) of the output is (rows[r], columns[c], channels[k]) of the input, or `fill` where one of them is NN_OUTSIDE. */
#define NN_OUTSIDE 0xffffu
typedef struct {
    int32_t in_columns, in_channels;
    int32_t out_rows, out_columns, out_channels;
    const uint16_t *rows, *columns;
    const uint16_t *channels; /* NULL: all, in their order */
    int8_t fill;
} nn_take_layer;

/*
 * Bilinear: output row r lies between rows row[r] and row_next[r] of the input, row_part[r] / 1024 of the way; columns in the same way.
 */
typedef struct {
    int32_t in_columns, channels;
    int32_t out_rows, out_columns;
    const uint16_t *row, *row_next, *row_part;
    const uint16_t *column, *column_next, *column_part;
} nn_interpolate_layer;

/* `runs` vectors of `size` elements; powers[d] is 2^bits * exp(-d * scale of the input) for a distance d to the largest. */
typedef struct {
    int32_t runs, size;
    const uint32_t *powers;
} nn_softmax_layer;

/* `runs` vectors of `size` elements, each divided by its length; y = 128 is 1. */
typedef struct {
    int32_t runs, size;
    int16_t zero_in;
} nn_normalize_layer;

/*
 * `runs` images of `positions` x `channels`; each of `groups` equal groups of channels is normalized over all positions: see nn_group_norm.c.
 * `epsilon` is n^2 * epsilon / (scale of the input)^2 for the n elements of a group. `multiplier` and `bias`: one for each channel.
 */
typedef struct {
    int32_t runs, positions, channels, groups;
    int64_t epsilon;
    const int32_t *multiplier, *bias;
    int8_t shift, zero, low, high;
} nn_group_norm_layer;

/*
 * `products` of matrices: y[r][p][c] = clamp(zero + round(sum over i of (a - zero_in[0]) * (b - zero_in[1]) * multiplier * 2^-(shift + 33))).
 * a is at offset[0] + p * step[0][0] + r * step[0][1] + i * step[0][2] of the first input, b at
 * offset[1] + p * step[1][0] + c * step[1][1] + i * step[1][2] of the second one.
 */
typedef struct {
    int32_t rows, products, columns, inner;
    int32_t offset[2];
    int32_t step[2][3];
    int32_t multiplier;
    int16_t zero_in[2];
    int8_t shift, zero;
} nn_matmul_layer;

/* `runs` vectors of `size` elements; `powers` as in nn_softmax_layer, the other fields in 4096ths of the output's steps. */
typedef struct {
    int32_t runs, size;
    const uint32_t *powers;
    const int32_t *logarithms; /* of 1 + i / 256, for i from 0 to 256 */
    int32_t step;              /* the logarithm of 2 */
    int32_t offset;            /* that of 2^31 / powers[0] */
    int32_t multiplier;        /* the input's scale */
} nn_log_softmax_layer;

/*
 * Recurrent layer: gates x units rows of weights, each for the features of a step and then for the units of the state, with
 * a bias (the input's zero point folded in), a multiplier and a shift for either part, as in nn_filters. Gates and cells are
 * 2^-11ths; their functions and the state of a GRU 2^-15ths; its bytes 2^-7ths.
 */
typedef struct {
    const int8_t *weights;
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    const int32_t *state_bias, *state_multiplier;
    const int8_t *state_shift;
    int32_t features, units;
    int8_t reverse; /* from the last step to the first one */
    int8_t last;    /* the output is the last step alone */
} nn_recurrent_layer;

/* Feature j of a frame: y = clamp(zero + ((v * multiplier[j] >> shift[j]) + offset[j] + 128 >> 8)). */
typedef struct {
    const int32_t *multiplier, *offset;
    const int8_t *shift;
    int8_t zero;
} nn_feature_scale;

/*
 * Energies of frequency bands, and their cepstrum where there are coefficients. Frame f ends before sample (f + 1) * hop and has
 * `window` samples, zeros before the first one of the input; `size` is that of its FFT. Band b rises over the bins from starts[b] on
 * and falls over those from starts[b + 1] on; `rises` are the rising shares of all these bins in 1024ths.
 */
typedef struct {
    nn_feature_scale scale;
    const int16_t *hann;
    const int16_t *sines;         /* of a quarter: size / 4 + 1 */
    const uint16_t *starts;       /* bands + 2 */
    const uint16_t *rises;
    const uint16_t *logarithms;   /* 2^15 log2(1 + i / 64) */
    const int16_t *cosines;       /* coefficients x bands */
    int32_t floor;                /* 2^15 log2 of the energy whose feature is 0 */
    int32_t frames, channels, window, hop, size, bands, coefficients;
} nn_band_layer;

/* Mean, standard deviation, smallest and largest value, and crossings of the mean, of the same frames. */
typedef struct {
    nn_feature_scale scale;
    int32_t frames, channels, window, hop;
} nn_statistics_layer;

/* Convolutions. `column` is scratch for one window of one group: taps bytes. */
void nn_conv(const nn_conv_layer *layer, const int8_t *input, int8_t *output, int8_t *column);
void nn_conv_1x1(const nn_conv_layer *layer, const int8_t *input, int8_t *output);
void nn_depthwise(const nn_conv_layer *layer, const int8_t *input, int8_t *output);
void nn_linear(const nn_filters *layer, const int8_t *input, int8_t *output);

/* These may work in place (output == input) where the generated code does so. */
void nn_max_pool(const nn_pool_layer *layer, const int8_t *input, int8_t *output);
void nn_avg_pool(const nn_pool_layer *layer, const int8_t *input, int8_t *output);
void nn_mean(const nn_mean_layer *layer, const int8_t *input, int8_t *output);
void nn_add(const nn_add_layer *layer, const int8_t *first, const int8_t *second, int8_t *output);
void nn_clamp(int32_t size, int8_t low, int8_t high, const int8_t *input, int8_t *output);

/* y = table[q]; `table` points to the entry of 0 in 256 bytes. */
void nn_table(int32_t size, const int8_t *table, const int8_t *input, int8_t *output);
void nn_prelu(const nn_prelu_layer *layer, const int8_t *input, int8_t *output);
void nn_combine(const nn_pair_layer *layer, const int8_t *first, const int8_t *second, int8_t *output);
void nn_multiply(const nn_pair_layer *layer, const int8_t *first, const int8_t *second, int8_t *output);
void nn_softmax(const nn_softmax_layer *layer, const int8_t *input, int8_t *output);
void nn_normalize(const nn_normalize_layer *layer, const int8_t *input, int8_t *output);
void nn_group_norm(const nn_group_norm_layer *layer, const int8_t *input, int8_t *output);
void nn_log_softmax(const nn_log_softmax_layer *layer, const int8_t *input, int8_t *output);
void nn_matmul(const nn_matmul_layer *layer, const int8_t *first, const int8_t *second, int8_t *output);

void nn_move(const nn_move_layer *layer, const int8_t *input, int8_t *output);
void nn_take(const nn_take_layer *layer, const int8_t *input, int8_t *output);
void nn_interpolate(const nn_interpolate_layer *layer, const int8_t *input, int8_t *output);
void nn_copy_part(const nn_part_layer *layer, const int8_t *input, int8_t *output);
void nn_rescale_part(const nn_part_layer *layer, const int8_t *input, int8_t *output);
void nn_flatten(int32_t positions, int32_t channels, const int8_t *input, int8_t *output);

/*
 * `steps` steps from the state on, which holds 4 x units bytes: zeros at the start of a sequence. The kernels keep it, so
 * that a sequence may come in pieces.
 */
void nn_gru(const nn_recurrent_layer *layer, int32_t steps, const int8_t *input, int8_t *output, int8_t *state);
void nn_lstm(const nn_recurrent_layer *layer, int32_t steps, const int8_t *input, int8_t *output, int8_t *state);
void nn_mean_steps(int32_t steps, int32_t features, int32_t zero, const int8_t *input, int8_t *output);

/* Features of frames of 16-bit samples. `scratch`: words for the size of the FFT and the bands. */
void nn_band_energies(const nn_band_layer *layer, const int16_t *input, int8_t *output, int8_t *scratch);
void nn_window_statistics(const nn_statistics_layer *layer, const int16_t *input, int8_t *output);

/* 32768 / (1 + exp(-gate / 2048)) */
int32_t nn_sigmoid(int32_t gate);

/*
 * Filters on a window. Dense; or, for all filters at once, with an index of nonzero weights:
 * mask: for each filter one bit per tap, the lowest bit first, whole bytes;
 * gaps: for each filter the zeros before each stored weight, and at last those before the end of the filter.
 */
void nn_apply(const nn_filters *filters, int32_t first, int32_t count, const int8_t *x, int8_t *output);
void nn_apply_mask(const nn_filters *filters, int32_t first, int32_t count, const int8_t *x, int8_t *output);
void nn_apply_gaps(const nn_filters *filters, int32_t first, int32_t count, const int8_t *x, int8_t *output);

static inline int8_t nn_clamped(int32_t value, int32_t low, int32_t high)
{
    value = value < low ? low : value;
    return (int8_t)(value > high ? high : value);
}

static inline int8_t nn_feature(const nn_feature_scale *scale, int32_t j, int32_t value)
{
    const int64_t scaled = (int64_t)value * scale->multiplier[j] >> scale->shift[j];
    const int64_t made = ((scaled + scale->offset[j] + 128) >> 8) + scale->zero;

    return (int8_t)(made < INT8_MIN ? INT8_MIN : made > INT8_MAX ? INT8_MAX : made);
}

/* Four bytes at once, wherever they lie. */
static inline uint32_t nn_word(const int8_t *x)
{
    uint32_t word;
    memcpy(&word, x, sizeof word);
    return word;
}

#if NN_SIMD
/* Bytes 0 and 2 of a word as two 16-bit numbers, and bytes 1 and 3. */
static inline int16x2_t nn_even(uint32_t word)
{
    return __sxtb16((int8x4_t)word);
}

static inline int16x2_t nn_odd(uint32_t word)
{
    int16x2_t odd; /* one instruction, which compilers do not find by themselves */
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
    return odd;
}
#endif

/* round(sum * multiplier * 2^-(shift + 33)), halves upwards. */
int32_t nn_requantized_any(int32_t sum, int32_t multiplier, int32_t shift);

/*
 * The same for shift >= 0, which is any factor below 1/4: the high word of the product is enough, as
 * floor((product + half) / 2^(shift + 33)) = floor((floor(high word / 2^shift) + 1) / 2).
 */
static inline int32_t nn_requantized_small(int32_t sum, int32_t multiplier, int32_t shift)
{
    return (((int32_t)((int64_t)sum * multiplier >> 32) >> shift) + 1) >> 1;
}

static inline int32_t nn_requantized(int32_t sum, int32_t multiplier, int32_t shift)
{
    return shift < 0 ? nn_requantized_any(sum, multiplier, shift) : nn_requantized_small(sum, multiplier, shift);
}

/* The sum of products of `count` bytes. */
static inline int32_t nn_products(const int8_t *x, const int8_t *w, int32_t count, int32_t sum)
{
    const int8_t *end = x + count;

#if NN_SIMD
    for (const int8_t *stop = x + (count & ~3); x != stop; x += 4, w += 4) {
        const uint32_t word = nn_word(x), weights = nn_word(w);
        sum = __smlad(nn_odd(weights), nn_odd(word), __smlad(nn_even(weights), nn_even(word), sum));
    }
#endif
    for (; x != end; ++x, ++w) {
        sum += *x * *w;
    }
    return sum;
}

/* A row's part of the input, its part of the state, and both. */
static inline int32_t nn_gate_of_input(const nn_recurrent_layer *layer, int32_t row, const int8_t *x)
{
    const int8_t *w = layer->weights + row * (layer->features + layer->units);
    const int32_t sum = nn_products(x, w, layer->features, layer->bias[row]);
    return nn_requantized(sum, layer->multiplier[row], layer->shift[row]);
}

static inline int32_t nn_gate_of_state(const nn_recurrent_layer *layer, int32_t row, const int8_t *state)
{
    const int8_t *w = layer->weights + row * (layer->features + layer->units) + layer->features;
    const int32_t sum = nn_products(state, w, layer->units, layer->state_bias[row]);
    return nn_requantized(sum, layer->state_multiplier[row], layer->state_shift[row]);
}

static inline int32_t nn_gate(const nn_recurrent_layer *layer, int32_t row, const int8_t *x, const int8_t *state)
{
    return nn_gate_of_input(layer, row, x) + nn_gate_of_state(layer, row, state);
}

static inline int32_t nn_clipped(int32_t gate)
{
    gate = gate < -32767 ? -32767 : gate;
    return gate > 32767 ? 32767 : gate;
}

/* In 2^-15ths. */
static inline int32_t nn_tanh(int32_t gate)
{
    return 2 * nn_sigmoid(2 * nn_clipped(gate)) - 32768;
}

/* 16-bit numbers wherever they lie. */
static inline int32_t nn_wide(const int8_t *from)
{
    int16_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void nn_set_wide(int8_t *to, int32_t value)
{
    const int16_t narrow = (int16_t)value;
    memcpy(to, &narrow, sizeof narrow);
}

/* How many of a sequence's `steps` steps are valid when the network's input has `length` valid ones, `divisor` for each step. */
static inline int32_t nn_steps(int32_t length, int32_t divisor, int32_t steps)
{
    const int32_t valid = length / divisor;
    return valid < 1 ? 1 : valid > steps ? steps : valid;
}

/* Moves the `kept` newest bytes of a buffer of steps to its start, and appends the `size` bytes of the next step. */
static inline void nn_push(int8_t *buffer, int32_t kept, int32_t size, const int8_t *step)
{
    memmove(buffer, buffer + size, (size_t)kept);
    memcpy(buffer + kept, step, (size_t)size);
}

/* Adds a step to sums of 32 bits, wherever they lie. */
static inline void nn_add_step(int32_t features, int32_t zero, const int8_t *step, int8_t *sums)
{
    for (int32_t i = 0; i < features; ++i) {
        int32_t sum;
        memcpy(&sum, sums + 4 * i, sizeof sum);
        sum += step[i] - zero;
        memcpy(sums + 4 * i, &sum, sizeof sum);
    }
}

/* The means of `steps` steps, rounded as in nn_mean_steps. */
static inline void nn_mean_of_sums(int32_t features, int32_t steps, int32_t zero, const int8_t *sums, int8_t *output)
{
    for (int32_t i = 0; i < features; ++i) {
        int32_t sum;
        memcpy(&sum, sums + 4 * i, sizeof sum);
        output[i] = (int8_t)(zero - 256 + (2 * sum + steps + 512 * steps) / (2 * steps));
    }
}

/* Sums times a factor, as in nn_mean. */
static inline void nn_scaled_sums(int32_t features, int32_t multiplier, int32_t shift, int32_t zero, const int8_t *sums, int8_t *output)
{
    for (int32_t i = 0; i < features; ++i) {
        int32_t sum;
        memcpy(&sum, sums + 4 * i, sizeof sum);
        output[i] = nn_clamped(nn_requantized(sum, multiplier, shift) + zero, INT8_MIN, INT8_MAX);
    }
}

/* Output number `output` of some filters, from its sum. */
static inline int8_t nn_output(const nn_filters *filters, int32_t output, int32_t sum)
{
    const int32_t value = nn_requantized(sum, filters->multiplier[output], filters->shift[output]);
    return nn_clamped(value + filters->zero, filters->low, filters->high);
}

typedef struct {
    int32_t s0, s1, s2, s3;
} nn_sums;

/* Four outputs from number `first` on. All loads come before the stores, so that the compiler can share them. */
static inline void nn_output_4(const nn_filters *filters, int32_t first, nn_sums sum, int8_t *output)
{
    const int32_t *multiplier = filters->multiplier + first;
    const int8_t *shift = filters->shift + first;
    const int32_t zero = filters->zero, low = filters->low, high = filters->high;

    if ((shift[0] | shift[1] | shift[2] | shift[3]) >= 0) {
        sum.s0 = nn_requantized_small(sum.s0, multiplier[0], shift[0]);
        sum.s1 = nn_requantized_small(sum.s1, multiplier[1], shift[1]);
        sum.s2 = nn_requantized_small(sum.s2, multiplier[2], shift[2]);
        sum.s3 = nn_requantized_small(sum.s3, multiplier[3], shift[3]);
    } else {
        sum.s0 = nn_requantized_any(sum.s0, multiplier[0], shift[0]);
        sum.s1 = nn_requantized_any(sum.s1, multiplier[1], shift[1]);
        sum.s2 = nn_requantized_any(sum.s2, multiplier[2], shift[2]);
        sum.s3 = nn_requantized_any(sum.s3, multiplier[3], shift[3]);
    }
    sum.s0 = nn_clamped(sum.s0 + zero, low, high);
    sum.s1 = nn_clamped(sum.s1 + zero, low, high);
    sum.s2 = nn_clamped(sum.s2 + zero, low, high);
    sum.s3 = nn_clamped(sum.s3 + zero, low, high);
    output[0] = (int8_t)sum.s0;
    output[1] = (int8_t)sum.s1;
    output[2] = (int8_t)sum.s2;
    output[3] = (int8_t)sum.s3;
}

/* The taps of a window inside of the input, for one axis: from `first` to before `end`; the first one is at `place`. */
typedef struct {
    int32_t first, end, place;
} nn_span;

static inline nn_span nn_inside(int32_t start, int32_t taps, int32_t step, int32_t size)
{
    nn_span span = {0, taps, start};
    if (start < 0) {
        span.first = (step - 1 - start) / step;
        span.place += span.first * step;
    }
    if (start + (taps - 1) * step >= size) {
        span.end = start < size ? (size - 1 - start) / step + 1 : 0;
    }
    if (span.first >= span.end) {
        span.first = span.end = taps;
        span.place = 0;
    }
    return span;
}

#endif
