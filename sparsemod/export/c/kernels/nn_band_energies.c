/* Copyright the sparsemod contributors. SPDX-License-Identifier: Apache-2.0 */

#include "nn.h"

/* (a * b + c * d + 2^14) >> 15 */
static inline int32_t rotated(int32_t a, int32_t b, int32_t c, int32_t d)
{
    return (int32_t)(((int64_t)a * b + (int64_t)c * d + (1 << 14)) >> 15);
}

/* cos(2 pi k / size) for k = 0 ... size / 2 from a quarter of the sine. */
static inline int32_t cosine(const nn_band_layer *layer, int32_t k)
{
    const int32_t quarter = layer->size >> 2;
    return k <= quarter ? layer->sines[quarter - k] : -layer->sines[k - quarter];
}

static inline int32_t sine(const nn_band_layer *layer, int32_t k)
{
    const int32_t quarter = layer->size >> 2;
    return k <= quarter ? layer->sines[k] : layer->sines[2 * quarter - k];
}

/* Writes the windowed frame as pairs of samples in the order of reversed bits. Returns by how many bits it was scaled. */
static int32_t load(const nn_band_layer *layer, int32_t first, const int16_t *input, int32_t *z)
{
    const int32_t step = layer->channels, half = layer->size >> 1;
    const int32_t begin = first < 0 ? -first : 0;
    int32_t largest = 0, scaled = 0, reversed = 0;

    for (int32_t n = begin; n < layer->window; ++n) {
        const int32_t x = input[(first + n) * step];
        largest = x > largest ? x : -x > largest ? -x : largest;
    }
    while (scaled < 15 && largest << scaled < 1 << 14) {
        ++scaled;
    }
    for (int32_t n = 0; n < layer->size; n += 2) {
        for (int32_t i = 0; i < 2; ++i) {
            const int32_t place = n + i;
            const int inside = place >= begin && place < layer->window;
            const int32_t x = inside ? input[(first + place) * step] * (1 << scaled) : 0;
            z[2 * reversed + i] = inside ? (x * layer->hann[place] + (1 << 14)) >> 15 : 0;
        }
        int32_t bit = half >> 1;
        while (reversed & bit) {
            reversed ^= bit;
            bit >>= 1;
        }
        reversed |= bit;
    }
    return scaled;
}

/* The FFT of size / 2 complex numbers in place. */
static void transform(const nn_band_layer *layer, int32_t *z)
{
    const int32_t half = layer->size >> 1;

    for (int32_t each = 1; each < half; each <<= 1) {
        for (int32_t j = 0; j < each; ++j) {
            const int32_t place = j * (half / each);
            const int32_t c = cosine(layer, place), s = sine(layer, place);
            for (int32_t k = j; k < half; k += 2 * each) {
                int32_t *a = z + 2 * k, *b = a + 2 * each;
                const int32_t real = j ? rotated(b[0], c, b[1], s) : b[0];
                const int32_t imaginary = j ? rotated(b[1], c, -b[0], s) : b[1];
                b[0] = a[0] - real;
                b[1] = a[1] - imaginary;
                a[0] += real;
                a[1] += imaginary;
            }
        }
    }
}

/* Four times the power of bin k. */
static inline uint64_t power(const nn_band_layer *layer, int32_t k, const int32_t *z)
{
    const int32_t mask = (layer->size >> 1) - 1;
    const int32_t *a = z + 2 * (k & mask), *b = z + 2 * (-k & mask);
    const int32_t c = cosine(layer, k), s = sine(layer, k);
    const int32_t odd_real = a[1] + b[1], odd_imaginary = b[0] - a[0];
    const int32_t real = a[0] + b[0] + rotated(odd_real, c, odd_imaginary, s);
    const int32_t imaginary = a[1] - b[1] + rotated(odd_imaginary, c, -odd_real, s);

    return (uint64_t)((int64_t)real * real + (int64_t)imaginary * imaginary);
}

/* 2^15 log2(energy / floor) with the energy scaled by 4^scaled, at least 0. */
static int32_t logarithm(const nn_band_layer *layer, uint64_t energy, int32_t scaled)
{
    int32_t highest = 63;

    if (energy == 0) {
        return 0;
    }
    while (energy >> 63 == 0) {
        energy <<= 1;
        --highest;
    }
    const int32_t fraction = (int32_t)(energy >> 47 & 0xffff);
    const uint16_t *entry = layer->logarithms + (fraction >> 10);
    const int32_t value = highest * (1 << 15) + entry[0] + (((entry[1] - entry[0]) * (fraction & 1023) + 512) >> 10);
    const int32_t above = value - scaled * (1 << 16) - layer->floor;
    return above > 0 ? above : 0;
}

/* Each bin adds a share to the band that rises there, and the rest to the band before, which falls. */
static void bands_of(const nn_band_layer *layer, int32_t scaled, const int32_t *z, int32_t *bands)
{
    const uint16_t *rise = layer->rises;
    int32_t k = layer->starts[0];
    uint64_t falling = 0;

    for (int32_t band = 0; band <= layer->bands; ++band) {
        uint64_t rising = 0;
        for (; k < layer->starts[band + 1]; ++k, ++rise) {
            const uint64_t whole = power(layer, k, z);
            rising += whole * *rise;
            falling += whole * (uint32_t)((1 << 10) - *rise);
        }
        if (band > 0) {
            bands[band - 1] = logarithm(layer, falling, scaled);
        }
        falling = rising;
    }
}

NN_KERNEL void nn_band_energies(const nn_band_layer *layer, const int16_t *input, int8_t *output, int8_t *scratch)
{
    int32_t *z = (int32_t *)(void *)scratch, *bands = z + layer->size;
    int32_t first = layer->hop - layer->window;

    for (int32_t frame = 0; frame < layer->frames; ++frame, first += layer->hop) {
        const nn_feature_scale *scale = &layer->scale;
        int32_t feature = 0;
        for (int32_t channel = 0; channel < layer->channels; ++channel) {
            const int32_t scaled = load(layer, first, input + channel, z);
            transform(layer, z);
            bands_of(layer, scaled, z, bands);
            if (layer->coefficients == 0) {
                for (int32_t b = 0; b < layer->bands; ++b) {
                    *output++ = nn_feature(scale, feature++, bands[b]);
                }
                continue;
            }
            const int16_t *weight = layer->cosines;
            for (int32_t j = 0; j < layer->coefficients; ++j) {
                int64_t sum = 1 << 14;
                for (int32_t b = 0; b < layer->bands; ++b) {
                    sum += (int64_t)bands[b] * *weight++;
                }
                *output++ = nn_feature(scale, feature++, (int32_t)(sum >> 15));
            }
        }
    }
}
