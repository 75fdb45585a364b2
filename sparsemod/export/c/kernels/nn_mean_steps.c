/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* The mean of each feature over the first `steps` steps, which has the input's zero point. */
NN_KERNEL void nn_mean_steps(int32_t steps, int32_t features, int32_t zero, const int8_t *input, int8_t *output)
{
    for (int32_t feature = 0; feature < features; ++feature) {
        const int8_t *x = input + feature;
        int32_t sum = -zero * steps;

        for (int32_t step = 0; step < steps; ++step, x += features) {
            sum += *x;
        }
        /* 256 steps more, so that the division of a positive number rounds down. */
        output[feature] = (int8_t)(zero - 256 + (2 * sum + steps + 512 * steps) / (2 * steps));
    }
}
