/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

#include <string.h>

/* One input of a concatenation that has the scale of the output. */
NN_KERNEL void nn_copy_part(const nn_part_layer *layer, const int8_t *input, int8_t *output)
{
    for (int32_t row = 0; row < layer->rows; ++row) {
        memcpy(output + row * layer->stride, input, (size_t)layer->run);
        input += layer->run;
    }
}
