/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

NN_KERNEL void nd_linear(const nd_filters *layer, const float *input, float *output, int8_t *scratch)
{
    const nd_range range = nd_input_range(layer, layer->taps, input);

    nd_quantize(layer->taps, input, range, scratch);
    nd_apply(layer, 0, layer->outputs, scratch, range, output);
}
