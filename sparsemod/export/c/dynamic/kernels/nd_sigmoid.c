/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

/* From whole 2^-11ths to 2^-15ths, as the gates of integer networks. */
NN_KERNEL float nd_sigmoid(float value)
{
    const int32_t gate = nd_nearest(nd_limited(nd_product(value, 2048.0f), 32767.0f));
    return nd_product(nd_number(nn_sigmoid(gate)), 1.0f / 32768.0f);
}
