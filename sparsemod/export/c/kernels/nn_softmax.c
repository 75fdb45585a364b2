/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* The output counts 256ths: y = -128 + round(256 * power / sum of the powers). */
NN_KERNEL void nn_softmax(const nn_softmax_layer *layer, const int8_t *input, int8_t *output)
{
    for (int32_t run = 0; run < layer->runs; ++run, input += layer->size, output += layer->size) {
        int32_t largest = input[0];
        uint32_t sum = 0;

        for (int32_t i = 1; i < layer->size; ++i) {
            largest = input[i] > largest ? input[i] : largest;
        }
        for (int32_t i = 0; i < layer->size; ++i) {
            sum += layer->powers[largest - input[i]];
        }
        for (int32_t i = 0; i < layer->size; ++i) {
            const uint32_t share = ((layer->powers[largest - input[i]] << 8) + sum / 2) / sum;
            output[i] = (int8_t)(share > 255 ? 127 : (int32_t)share - 128);
        }
    }
}
