/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nd.h"

/* Elements in another order; the last axis runs fastest. */
NN_KERNEL void nd_move(const nn_move_layer *layer, const float *input, float *output)
{
    int32_t count[NN_MOVE_AXES] = {0};
    const float *from = input + layer->offset;

    for (;;) {
        int32_t axis = NN_MOVE_AXES - 1;
        *output++ = *from;
        from += layer->step[axis];
        while (++count[axis] == layer->size[axis]) {
            from -= layer->step[axis] * layer->size[axis];
            count[axis] = 0;
            if (axis == 0) {
                return;
            }
            --axis;
            from += layer->step[axis];
        }
    }
}
