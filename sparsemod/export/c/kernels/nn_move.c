/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

static int8_t *copied(const int8_t *from, int32_t size, int32_t step, int8_t *to)
{
    if (step == 1 && size >= 8) {
        memcpy(to, from, (size_t)size);
        return to + size;
    }
    for (; size > 0; --size, from += step) {
        *to++ = *from;
    }
    return to;
}

/* Elements in another order: each of the axes but the last one counts, the last one is copied at once. */
NN_KERNEL void nn_move(const nn_move_layer *layer, const int8_t *input, int8_t *output)
{
    int32_t count[NN_MOVE_AXES - 1] = {0};
    const int32_t size = layer->size[NN_MOVE_AXES - 1], step = layer->step[NN_MOVE_AXES - 1];
    const int8_t *from = input + layer->offset;

    for (;;) {
        int32_t axis = NN_MOVE_AXES - 2;
        output = copied(from, size, step, output);
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
