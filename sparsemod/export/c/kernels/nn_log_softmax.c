/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/*
 * y = 127 - round(16 * (d * scale of the input + log(sum of powers / largest power))), d the distance to the largest. The logarithm, in
 * 4096ths of a step: that of the highest bit of the sum, plus an entry of a table for the next 8 bits, the last of them rounded.
 */
NN_KERNEL void nn_log_softmax(const nn_log_softmax_layer *layer, const int8_t *input, int8_t *output)
{
    for (int32_t run = 0; run < layer->runs; ++run, input += layer->size, output += layer->size) {
        int32_t largest = input[0];
        uint32_t sum = 0;
        int32_t bits = 0;

        for (int32_t i = 1; i < layer->size; ++i) {
            largest = input[i] > largest ? input[i] : largest;
        }
        for (int32_t i = 0; i < layer->size; ++i) {
            sum += layer->powers[largest - input[i]];
        }
        while (sum < (uint32_t)1 << 31) {
            sum <<= 1;
            ++bits;
        }
        const int32_t whole = layer->offset - bits * layer->step;
        const int32_t logarithm = whole + layer->logarithms[(sum + ((uint32_t)1 << 22) - ((uint32_t)1 << 31)) >> 23];
        for (int32_t i = 0; i < layer->size; ++i) {
            const int32_t value = (layer->multiplier * (largest - input[i]) + logarithm + (1 << 11)) >> 12;
            output[i] = (int8_t)(value > 255 ? -128 : 127 - value);
        }
    }
}
