/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* Matrix times vector. */
NN_KERNEL void nn_linear(const nn_filters *layer, const int8_t *input, int8_t *output)
{
    layer->apply(layer, 0, layer->outputs, input, output);
}
