/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* One input of a concatenation, brought to the scale of the output. */
NN_KERNEL void nn_rescale_part(const nn_part_layer *layer, const int8_t *input, int8_t *output)
{
    for (int32_t row = 0; row < layer->rows; ++row) {
        for (int32_t i = 0; i < layer->run; ++i) {
            const int32_t value = (*input++ * layer->multiplier + layer->offset) >> layer->shift;
            output[row * layer->stride + i] = nn_clamped(value + layer->zero, layer->low, layer->high);
        }
    }
}
