"""A second, deliberately slow interpreter: Python integers in plain loops over one sample, written from the
layers' definitions."""

import math

import numpy as np
from support_slow_recurrent import slow_steps
from support_slow_signals import slow_signal

from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import (
    Add,
    AvgPool,
    Clamp,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    Reshape,
    Transpose,
)
from sparsemod.quantization.layers.functions import Prelu, Table
from sparsemod.quantization.layers.movements import Interpolate, Move, Take
from sparsemod.quantization.layers.normalizing import GroupNorm, L2Normalize, LogSoftmax, Softmax
from sparsemod.quantization.layers.pairs import Combined, Multiply
from sparsemod.quantization.layers.products import MatMul, Offset


def slow_run(network: IntegerNetwork, images: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
    outputs = []
    for number, image in enumerate(images):
        length = network.steps if lengths is None else int(lengths[number])
        live = {network.input: image.astype(object)}
        for layer in network.layers:
            inputs = [live[n] for n in layer.inputs]
            zeros = [network.tensors[n].zero_point for n in layer.inputs]
            shape = network.tensors[layer.output].shape
            zero_out = network.tensors[layer.output].zero_point
            if "lengths" in layer.attributes:
                live[layer.output] = slow_steps(layer, inputs[0], zeros[0], length)
            elif layer.traits.reads_wide:
                live[layer.output] = slow_signal(layer, inputs[0], zero_out)
            elif layer.traits.positions:
                # A sequence (C, L) is an image (C, 1, L).
                inputs = [x if x.ndim == 3 else x[:, None] for x in inputs]
                image = (shape[0], 1, shape[1]) if len(shape) == 2 else shape
                made = slow_layer(layer, inputs, zeros, zero_out, image)
                live[layer.output] = made.reshape(shape)
            else:
                live[layer.output] = slow_layer(layer, inputs, zeros, zero_out, shape)
        outputs.append(live[network.output])
    return np.array(outputs).astype(np.int8).reshape(len(images), *network.tensors[network.output].shape)


def slow_requantize(acc: int, multiplier: int, shift: int) -> int:
    assert -(2**31) <= acc < 2**31
    result = (acc * multiplier + (1 << (30 - shift))) >> (31 - shift)
    assert -(2**31) <= result < 2**31
    return result


def slow_rescale(differences: list[int], multipliers: tuple[int, ...], shift: int) -> int:
    total = sum(d * m for d, m in zip(differences, multipliers, strict=True)) + (1 << (shift - 1))
    assert -(2**31) <= total < 2**31
    return total >> shift


def clamp(value: int, layer: Layer) -> int:
    return min(max(value, getattr(layer, "low", -128)), getattr(layer, "high", 127))


def slow_layer(layer, inputs, zeros, zo, shape):
    out = np.empty(shape, dtype=object)
    x, z = inputs[0], zeros[0]
    if isinstance(layer, Conv):
        per_group_in, per_group_out = layer.weight.shape[1], len(layer.weight) // layer.groups
        for o, r, c in np.ndindex(*shape):
            acc = int(layer.bias[o])
            for i, u, v in np.ndindex(*layer.weight.shape[1:]):
                row = r * layer.stride[0] + u * layer.dilation[0] - layer.padding[0]
                column = c * layer.stride[1] + v * layer.dilation[1] - layer.padding[2]
                if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                    channel = (o // per_group_out) * per_group_in + i
                    acc += int(layer.weight[o, i, u, v]) * (int(x[channel, row, column]) - z)
            out[o, r, c] = clamp(
                zo + slow_requantize(acc, int(layer.multiplier[o]), int(layer.shift[o])), layer
            )
    elif isinstance(layer, Linear):
        for o in range(shape[0]):
            acc = int(layer.bias[o]) + sum(
                int(w) * (int(q) - z) for w, q in zip(layer.weight[o], x, strict=True)
            )
            out[o] = clamp(zo + slow_requantize(acc, int(layer.multiplier[o]), int(layer.shift[o])), layer)
    elif isinstance(layer, MaxPool | AvgPool):
        top, bottom, left, right = layer.padding
        for k, r, c in np.ndindex(*shape):
            inside, padded = [], 0
            for u, v in np.ndindex(*layer.kernel):
                row = r * layer.stride[0] + u * layer.dilation[0] - top
                column = c * layer.stride[1] + v * layer.dilation[1] - left
                if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                    inside.append(int(x[k, row, column]))
                elif row < x.shape[1] + bottom and column < x.shape[2] + right:
                    padded += 1
            if isinstance(layer, MaxPool):
                out[k, r, c] = max(inside)
            else:
                count = len(inside) + (padded if layer.count_padding else 0)
                acc = sum(inside) + (z * padded if layer.count_padding else 0)
                out[k, r, c] = (acc + count // 2) // count if acc > 0 else -((-acc + count // 2) // count)
    elif isinstance(layer, GlobalAvgPool):
        for k in range(shape[0]):
            acc = sum(int(q) - z for q in x[k].ravel())
            value = clamp(zo + slow_requantize(acc, layer.multiplier, layer.shift), layer)
            out[(k, 0, 0) if layer.keep else k] = value
    elif isinstance(layer, Add):
        for place in np.ndindex(*shape):
            differences = [int(q[place]) - zero for q, zero in zip(inputs, zeros, strict=True)]
            out[place] = clamp(zo + slow_rescale(differences, layer.multipliers, layer.shift), layer)
    elif isinstance(layer, Concat):
        parts = []
        for q, zero, multiplier, shift in zip(inputs, zeros, layer.multipliers, layer.shifts, strict=True):
            part = np.empty(q.shape, dtype=object)
            for place in np.ndindex(*q.shape):
                part[place] = clamp(zo + slow_rescale([int(q[place]) - zero], (multiplier,), shift), layer)
            parts.append(part)
        out = np.concatenate(parts, axis=layer.axis)
    elif isinstance(layer, Clamp):
        for place in np.ndindex(*shape):
            out[place] = clamp(int(x[place]), layer)
    elif isinstance(layer, Flatten | Reshape):
        out = np.array(list(x.ravel()), dtype=object).reshape(shape)
    elif isinstance(layer, Transpose):
        for row, column in np.ndindex(*x.shape):
            out[column, row] = x[row, column]
    else:
        slow_operator(layer, inputs, zeros, zo, out)
    return out


def slow_operator(layer, inputs, zeros, zo, out):
    """The layers of functions, pairs, copies and normalizations."""
    x, z = inputs[0], zeros[0]
    if isinstance(layer, Table):
        for place in np.ndindex(*out.shape):
            out[place] = int(layer.table[int(x[place]) + 128])
    elif isinstance(layer, Prelu):
        for place in np.ndindex(*out.shape):
            d = int(x[place]) - z
            factor = layer.positive if d >= 0 else int(layer.slopes[place[0]])
            out[place] = min(127, max(-128, zo + slow_rescale([d], (factor,), layer.shift)))
    elif isinstance(layer, Combined | Multiply):
        for place in np.ndindex(*out.shape):
            a, b = (
                int(q[tuple(0 if size == 1 else at for at, size in zip(place, q.shape, strict=True))]) - zero
                for q, zero in zip(inputs, zeros, strict=True)
            )
            if isinstance(layer, Multiply):
                value = slow_requantize(a * b, layer.multiplier, layer.shift)
            else:
                a, b = a * layer.multipliers[0], b * layer.multipliers[1]
                total = {"maximum": max(a, b), "minimum": min(a, b)}.get(layer.kind, a + b)
                value = slow_rescale([total], (1,), layer.shift)
            out[place] = clamp(zo + value, layer)
    elif isinstance(layer, Move):
        flat, made = x.reshape(-1), []
        for place in np.ndindex(*layer.sizes):
            made.append(flat[layer.offset + sum(i * s for i, s in zip(place, layer.strides, strict=True))])
        out[...] = np.array(made, dtype=object).reshape(out.shape)
    elif isinstance(layer, Take):
        for place in np.ndindex(*out.shape):
            source = [axis[at] if axis else at for at, axis in zip(place, layer.places, strict=True)]
            outside = z if layer.fill == "zero" else -128
            out[place] = outside if min(source) < 0 else x[tuple(source)]
    elif isinstance(layer, Interpolate):
        for k, r, c in np.ndindex(*out.shape):
            u, v = layer.rows_part[r], layer.columns_part[c]
            upper, lower = (
                int(x[k, row, layer.columns[c]]) * (1024 - v) + int(x[k, row, layer.columns_next[c]]) * v
                for row in (layer.rows[r], layer.rows_next[r])
            )
            out[k, r, c] = (upper * (1024 - u) + lower * u + 2**19) >> 20
    elif isinstance(layer, GroupNorm):
        slow_group_norm(layer, x, zo, out)
    elif isinstance(layer, MatMul):
        sides = []
        for name, q, zero in zip(("first", "second"), inputs, zeros, strict=True):
            sides.append(np.array([int(v) - zero for v in q.reshape(-1)], dtype=object)[layer.index(name)])
        for p, r, c in np.ndindex(layer.products, layer.rows, layer.columns):
            acc = sum(int(a) * int(b) for a, b in zip(sides[0][p, r], sides[1][p, c], strict=True))
            value = zo + slow_requantize(acc, layer.multiplier, layer.shift)
            out[r, p * layer.columns + c] = min(127, max(-128, value))
    elif isinstance(layer, Offset):
        for place in np.ndindex(*out.shape):
            terms = [int(x[place]) - z, int(layer.values[place])]
            out[place] = clamp(zo + slow_rescale(terms, layer.multipliers, layer.shift), layer)
    elif isinstance(layer, Softmax | L2Normalize | LogSoftmax):
        run = {Softmax: slow_softmax, LogSoftmax: slow_log_softmax, L2Normalize: slow_normalize}[type(layer)]
        rest = [1 if axis == layer.axis else size for axis, size in enumerate(out.shape)]
        for place in np.ndindex(*rest):
            line = tuple(slice(None) if axis == layer.axis else at for axis, at in enumerate(place))
            out[line] = run(layer, [int(q) for q in x[line]], z)
    else:
        raise TypeError(layer)


def slow_softmax(layer, values, z):
    powers = [int(layer.powers[max(values) - value]) for value in values]
    assert sum(powers) < 2**32 and max(powers) * 256 + sum(powers) // 2 < 2**32
    return [min(127, -128 + (256 * power + sum(powers) // 2) // sum(powers)) for power in powers]


def slow_normalize(layer, values, z):
    square, factor = sum((value - z) ** 2 for value in values), 128
    while square < 2**30 and factor < 2**15:
        square, factor = 4 * square, 2 * factor
    length = math.isqrt(square)
    shares = [(abs(value - z) * factor + length // 2) // length if length else 0 for value in values]
    return [min(127, max(-128, s if v >= z else -s)) for s, v in zip(shares, values, strict=True)]


def slow_log_softmax(layer, values, z):
    distances = [max(values) - value for value in values]
    total, bits = sum(int(layer.powers[d]) for d in distances), 0
    assert 0 < total < 2**32
    while total < 2**31:
        total, bits = 2 * total, bits + 1
    logarithm = layer.offset - bits * layer.step + int(layer.logarithms[(total - 2**31 + 2**22) // 2**23])
    steps = [(layer.multiplier * d + logarithm + 2**11) >> 12 for d in distances]
    assert max(layer.multiplier * d + logarithm + 2**11 for d in distances) < 2**31
    return [max(-128, 127 - step) for step in steps]


def slow_group_norm(layer, x, zo, out):
    lines = np.moveaxis(x, layer.axis, 0)
    made = np.empty(lines.shape, dtype=object)
    size = len(lines) // layer.groups
    positions = list(np.ndindex(*lines.shape[1:]))
    for group in range(layer.groups):
        channels = range(group * size, (group + 1) * size)
        for together in [positions] if layer.whole else [[position] for position in positions]:
            places = [(channel, *position) for position in together for channel in channels]
            values, n = [int(lines[place]) for place in places], len(places)
            v = n * sum(q * q for q in values) - sum(values) ** 2 + layer.epsilon
            k = 0
            while v >= 2**32:
                v, k = v >> 2, k - 1
            while v < 2**30:
                v, k = v << 2, k + 1
            inverse = 2**31 // math.isqrt(v)
            for place, q in zip(places, values, strict=True):
                z = ((n * q - sum(values)) * inverse + 2 ** (18 - k)) >> (19 - k)
                value = (z * int(layer.multiplier[place[0]])) >> layer.shift
                assert abs(z) < 2**31 and abs(value) + abs(int(layer.offset[place[0]])) + 128 < 2**31
                made[place] = clamp(zo + ((value + int(layer.offset[place[0]]) + 128) >> 8), layer)
    out[...] = np.moveaxis(made, 0, layer.axis)
