/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels of dynamically quantized networks: int8 weights, float tensors between the layers. A layer with weights quantizes its
 * input when it runs.
 *
 * Each result of float arithmetic goes through a volatile variable. So it is rounded to float, also on x87; a product and a sum
 * are never one instruction; and -ffast-math changes no order and replaces no division. With IEEE single precision, every
 * compiler and core gives the same bytes. Inputs must be finite.
 *
 * Tensors lie channels last, as in nn.h.
 */
#ifndef ND_H
#define ND_H

#include "nn.h"

#include <float.h>

/* Versions: a kernel's symbol ends in a digest of the sources of all kernels. */

#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || FLT_MAX_EXP != 128
#error "float must have the IEEE single precision"
#endif

enum { ND_NONE, ND_RELU, ND_RELU6 };
enum { ND_SUM, ND_DIFFERENCE, ND_PRODUCT, ND_LARGER, ND_SMALLER };

/* real value = (q - zero) * scale */
typedef struct {
    float scale;
    int32_t zero;
} nd_range;

/*
 * `outputs` filters of `taps` int8 weights each, [filter][tap]. Output o of a quantized window q is
 *     (sum of weights[o][i] * (q[i] - zero)) * (range's scale * scale[o]) + bias[o]
 * A depthwise layer's weights are [tap][channel].
 */
typedef struct {
    const int8_t *weights;
    const float *scale;
    const float *bias;
    int32_t taps;
    int32_t outputs;
    nd_range measured; /* the input's range; a scale of 0: find it for each input */
    int8_t activation;
} nd_filters;

typedef struct {
    nd_filters filters;
    nn_window window;
    uint16_t groups;
    int8_t direct; /* each window is one position: no gathering */
} nd_conv_layer;

typedef struct {
    nn_window window;
    uint16_t pad_bottom, pad_right;
    uint16_t count_padding; /* whether the mean counts the stated padding */
} nd_pool_layer;

/* Two tensors, element by element; see nn_pair_layer. */
typedef struct {
    int32_t rows, columns, channels;
    int32_t step[2][3];
    int8_t operation, activation;
} nd_pair_layer;

/* gates x units rows of weights, each for the features of a step and then for the units of the state. */
typedef struct {
    const int8_t *weights;
    const float *scale, *bias;
    const float *state_scale, *state_bias;
    int32_t features, units;
    int8_t reverse; /* from the last step to the first one */
    int8_t last;    /* the output is the last step alone */
} nd_recurrent_layer;

/* `scratch`: one byte for each element of the input, and for nd_conv the bytes of one window of one group unless it is direct. */
void nd_linear(const nd_filters *layer, const float *input, float *output, int8_t *scratch);
void nd_conv(const nd_conv_layer *layer, const float *input, float *output, int8_t *scratch);
void nd_depthwise(const nd_conv_layer *layer, const float *input, float *output, int8_t *scratch);
void nd_apply(const nd_filters *filters, int32_t first, int32_t count, const int8_t *q, nd_range range, float *output);

/* The range of `size` numbers, widened to hold 0; and the numbers as int8. */
nd_range nd_range_of(int32_t size, const float *input);
void nd_quantize(int32_t size, const float *input, nd_range range, int8_t *q);

/* These may work in place (output == input) where the generated code does so. */
void nd_max_pool(const nd_pool_layer *layer, const float *input, float *output);
void nd_avg_pool(const nd_pool_layer *layer, const float *input, float *output);
void nd_mean(int32_t positions, int32_t channels, const float *input, float *output);
void nd_combine(const nd_pair_layer *layer, const float *first, const float *second, float *output);
void nd_clamp(int32_t size, int32_t activation, const float *input, float *output);
void nd_map(int32_t size, float (*function)(float), const float *input, float *output);
void nd_prelu(int32_t positions, int32_t channels, const float *slopes, const float *input, float *output);
void nd_offset(int32_t size, int32_t activation, const float *constants, const float *input, float *output);

/* These may not. */
void nd_move(const nn_move_layer *layer, const float *input, float *output);
void nd_take(const nn_take_layer *layer, float fill, const float *input, float *output);
void nd_copy_part(int32_t rows, int32_t run, int32_t stride, const float *input, float *output);

/* `scratch`: 4 bytes of state for each unit (LSTM: 8), which the caller sets to zero, and a byte for each unit and each feature. */
void nd_gru(const nd_recurrent_layer *layer, int32_t steps, const float *input, float *output, int8_t *scratch);
void nd_lstm(const nd_recurrent_layer *layer, int32_t steps, const float *input, float *output, int8_t *scratch);
float nd_sigmoid(float value);
float nd_tanh(float value);

static inline float nd_sum(float a, float b)
{
    volatile float value = a + b;
    return value;
}

static inline float nd_difference(float a, float b)
{
    volatile float value = a - b;
    return value;
}

static inline float nd_product(float a, float b)
{
    volatile float value = a * b;
    return value;
}

static inline float nd_quotient(float a, float b)
{
    volatile float by = b;
    volatile float value = a / by;
    return value;
}

static inline float nd_number(int32_t whole)
{
    volatile float value = (float)whole;
    return value;
}

static inline float nd_limited(float value, float limit)
{
    value = value < -limit ? -limit : value;
    return value > limit ? limit : value;
}

/* The nearest whole number, of two the even one. */
static inline int32_t nd_nearest(float value)
{
    const int32_t whole = (int32_t)value;
    const float rest = nd_difference(value, nd_number(whole));
    const int32_t odd = whole & 1;

    if (rest > 0.5f || (odd && rest >= 0.5f)) {
        return whole + 1;
    }
    return rest < -0.5f || (odd && rest <= -0.5f) ? whole - 1 : whole;
}

static inline float nd_activated(float value, int32_t activation)
{
    if (activation == ND_NONE) {
        return value;
    }
    value = value > 0.0f ? value : 0.0f;
    return activation == ND_RELU6 && value > 6.0f ? 6.0f : value;
}

/* Output number `output` of some filters, from its sum. */
static inline float nd_output(const nd_filters *filters, int32_t output, int32_t sum, float scale)
{
    const float value = nd_product(nd_number(sum), nd_product(scale, filters->scale[output]));
    return nd_activated(nd_sum(value, filters->bias[output]), filters->activation);
}

/* The range of a layer's input. */
static inline nd_range nd_input_range(const nd_filters *filters, int32_t size, const float *input)
{
    return filters->measured.scale > 0.0f ? filters->measured : nd_range_of(size, input);
}

/* The sum of weights * (q - zero). */
static inline int32_t nd_dot(const int8_t *weights, const int8_t *q, int32_t size, int32_t zero)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < size; ++i) {
        sum += weights[i] * (q[i] - zero);
    }
    return sum;
}

#endif
