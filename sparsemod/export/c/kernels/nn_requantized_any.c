/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* With all 64 bits of the product. Out of line, because few layers need it. */
NN_KERNEL int32_t nn_requantized_any(int32_t sum, int32_t multiplier, int32_t shift)
{
    const int64_t product = (int64_t)sum * multiplier;
    return (int32_t)((product + ((int64_t)1 << (shift + 32))) >> (shift + 33));
}
