"""Recurrent layers and reductions over steps in Python integers, written from the layers' definitions."""

import math

import numpy as np

from sparsemod.quantization.layers import Layer
from sparsemod.quantization.layers.recurrent import Gru, LastStep, MeanSteps

TABLE = [min(32767, math.floor(32768 / (1 + math.exp(-k / 8)) + 0.5)) for k in range(129)]


def requantize(acc: int, multiplier: int, shift: int) -> int:
    assert -(2**31) <= acc < 2**31
    return (acc * multiplier + (1 << (30 - shift))) >> (31 - shift)


def clip(a: int) -> int:
    return min(max(a, -32767), 32767)


def sigmoid(a: int) -> int:
    size = abs(clip(a))
    k, rest = divmod(size, 256)
    s = TABLE[k] + (((TABLE[k + 1] - TABLE[k]) * rest + 128) >> 8)
    return s if a >= 0 else 32768 - s


def tanh(a: int) -> int:
    return 2 * sigmoid(2 * clip(a)) - 32768


def byte(s: int) -> int:
    return min(max((s + 128) >> 8, -128), 127)


def fits(value: int) -> int:
    assert -(2**31) <= value < 2**31
    return value


def slow_steps(layer: Layer, x: np.ndarray, z: int, length: int) -> np.ndarray:
    steps = len(x)
    valid = max(1, min(steps, length // layer.lengths)) if layer.lengths else steps
    if isinstance(layer, LastStep):
        return x[valid - 1]
    if isinstance(layer, MeanSteps):
        return np.array(
            [z + (2 * sum(int(v) - z for v in c) + valid) // (2 * valid) for c in x[:valid].T], object
        )
    units, features = layer.units, x.shape[1]
    h, wide = [0] * units, [0] * units
    made = np.zeros((steps, units), object)
    for t in reversed(range(valid)) if layer.reverse else range(valid):
        given, state = [], []
        for o, row in enumerate(layer.weight.tolist()):
            acc = int(layer.bias[o]) + sum(w * (int(q) - z) for w, q in zip(row, x[t], strict=False))
            given.append(requantize(acc, int(layer.multiplier[o]), int(layer.shift[o])))
            acc = int(layer.state_bias[o]) + sum(w * q for w, q in zip(row[features:], h, strict=True))
            state.append(requantize(acc, int(layer.state_multiplier[o]), int(layer.state_shift[o])))
        new = []
        for u in range(units):
            rows = [u + gate * units for gate in range(layer.gates)]
            if isinstance(layer, Gru):
                r, update = (sigmoid(fits(given[o] + state[o])) for o in rows[:2])
                n = tanh(fits(given[rows[2]] + ((fits(r * clip(state[rows[2]])) + 16384) >> 15)))
                wide[u] = n + ((fits(update * (wide[u] - n) + 16384)) >> 15)
                assert -32768 <= wide[u] < 32768
                new.append(byte(wide[u]))
            else:
                i, f, g, o = (fits(given[row] + state[row]) for row in rows)
                i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
                wide[u] = clip((fits(f * wide[u] + ((i * g) >> 4) + 16384)) >> 15)
                new.append(byte((fits(o * tanh(wide[u]) + 16384)) >> 15))
        h = new
        made[t] = h
    return np.array(h, object) if layer.last else made
