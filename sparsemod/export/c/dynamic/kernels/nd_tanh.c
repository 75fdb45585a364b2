/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

NN_KERNEL float nd_tanh(float value)
{
    const int32_t gate = nd_nearest(nd_limited(nd_product(value, 2048.0f), 32767.0f));
    return nd_product(nd_number(2 * nn_sigmoid(2 * gate) - 32768), 1.0f / 32768.0f);
}
