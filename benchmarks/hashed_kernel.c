/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */
/*
 * A prototype: a convolution whose kernel is computed from BUCKETS weights. FILTERS filters at a time are computed into RAM,
 * in the order that nn_apply reads, and then applied to every window. Included by a network's code after nn.h.
 */

static int8_t computed_filters[FILTERS * TAPS];

/* The next entry of the kernel: the bucket follows from the high bits of a linear congruential generator. */
static inline int8_t next_weight(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return buckets[((*state >> 16) * BUCKETS) >> 16];
}

/* Computes FILTERS filters in blocks of four: [filter / 4][tap / 4][filter % 4][tap % 4]; TAPS is a multiple of four. */
static void compute_filters(uint32_t *state)
{
    for (int32_t first = 0; first < FILTERS; first += 4) {
        for (int32_t filter = 0; filter < 4; ++filter) {
            int8_t *to = computed_filters + first * TAPS + filter * 4;
            for (int32_t tap = 0; tap < TAPS; tap += 4, to += 16) {
                to[0] = next_weight(state);
                to[1] = next_weight(state);
                to[2] = next_weight(state);
                to[3] = next_weight(state);
            }
        }
    }
}

/* Copies a window of SIZE x SIZE positions of CHANNELS channels with the kernel 3 x 3 and padding 1 into `to`. */
static void gather_window(const nn_conv_layer *layer, const int8_t *input, int32_t top, int32_t left, int8_t *to)
{
    for (int32_t row = top; row < top + 3; ++row) {
        for (int32_t column = left; column < left + 3; ++column, to += CHANNELS) {
            if (row < 0 || row >= SIZE || column < 0 || column >= SIZE) {
                memset(to, layer->zero_in, CHANNELS);
            } else {
                memcpy(to, input + (row * SIZE + column) * CHANNELS, CHANNELS);
            }
        }
    }
}

static void nn_conv_hashed(const nn_conv_layer *layer, const int8_t *input, int8_t *output, int8_t *window)
{
    uint32_t state = 1;

    for (int32_t first = 0; first < CHANNELS; first += FILTERS) {
        nn_filters some = layer->filters;
        some.weights = computed_filters;
        some.bias += first;
        some.multiplier += first;
        some.shift += first;
        some.outputs = FILTERS;
        compute_filters(&state);
        for (int32_t row = 0; row < SIZE; ++row) {
            for (int32_t column = 0; column < SIZE; ++column) {
                gather_window(layer, input, row - 1, column - 1, window);
                nn_apply(&some, 0, FILTERS, window, output + (row * SIZE + column) * CHANNELS + first);
            }
        }
    }
}
