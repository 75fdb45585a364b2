"""Recurrent layers and reductions over valid steps in integer arithmetic. Sequences are (steps, features, N)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.quantization.arithmetic import Int8, Int64, requantize
from sparsemod.quantization.kernels.base import KERNELS, exact
from sparsemod.quantization.layers.recurrent import SIGMOID, Gru, LastStep, MeanSteps, Recurrent


def valid_steps(divisor: int, steps: int, lengths: NDArray[Any] | None, batch: int) -> Int64:
    """Return the valid steps (N,) of a layer's input of `steps` steps."""
    if not divisor or lengths is None:
        return np.full(batch, steps, np.int64)
    return np.clip(lengths.astype(np.int64) // divisor, 1, steps)


def _clip(a: Int64) -> Int64:
    return np.clip(a, -32767, 32767)


def _sigmoid(a: Int64) -> Int64:
    a = _clip(a)
    m = np.abs(a)
    k = m >> 8
    s = SIGMOID[k] + (((SIGMOID[k + 1] - SIGMOID[k]) * (m & 255) + 128) >> 8)
    return np.asarray(np.where(a >= 0, s, 32768 - s))


def _tanh(a: Int64) -> Int64:
    return 2 * _sigmoid(2 * _clip(a)) - 32768


def _to_int8(s: Int64) -> Int64:
    return np.asarray(np.clip((s + 128) >> 8, -128, 127), np.int64)


def _gru_step(of_input: Int64, of_state: Int64, state: Int64) -> tuple[Int64, Int64]:
    (xr, xz, xn), (hr, hz, hn) = np.split(of_input, 3), np.split(of_state, 3)
    r, z = _sigmoid(xr + hr), _sigmoid(xz + hz)
    n = _tanh(xn + ((r * _clip(hn) + (1 << 14)) >> 15))
    state = n + ((z * (state - n) + (1 << 14)) >> 15)
    return _to_int8(state), state


def _lstm_step(of_input: Int64, of_state: Int64, cell: Int64) -> tuple[Int64, Int64]:
    i, f, g, o = np.split(of_input + of_state, 4)
    i, f, g, o = _sigmoid(i), _sigmoid(f), _tanh(g), _sigmoid(o)
    cell = _clip((f * cell + ((i * g) >> 4) + (1 << 14)) >> 15)
    return _to_int8((o * _tanh(cell) + (1 << 14)) >> 15), cell


@KERNELS.rules("gru", "lstm")
def _recurrent(layer: Recurrent, inputs: list[Any], points: list[int], zero_out: int) -> Int8:
    x, batch = inputs[0], inputs[0].shape[-1]
    steps = valid_steps(layer.lengths, layer.steps, inputs[1] if len(inputs) > 1 else None, batch)
    kind = exact(layer)
    of_input, of_state = (
        layer.weight[:, : layer.features].astype(kind),
        layer.weight[:, layer.features :].astype(kind),
    )
    step = _gru_step if isinstance(layer, Gru) else _lstm_step
    h, state = (np.zeros((layer.units, batch), np.int64) for _ in range(2))
    made = np.zeros((layer.steps, layer.units, batch), np.int8)
    places = range(layer.steps)
    for t in reversed(places) if layer.reverse else places:
        sums = (of_input @ (x[t].astype(kind) - kind(points[0]))).astype(np.int64) + layer.bias[:, None]
        state_sums = (of_state @ h.astype(kind)).astype(np.int64) + layer.state_bias[:, None]
        new_h, new_state = step(
            requantize(
                sums, layer.multiplier.astype(np.int64)[:, None], layer.shift.astype(np.int64)[:, None]
            ),
            requantize(
                state_sums,
                layer.state_multiplier.astype(np.int64)[:, None],
                layer.state_shift.astype(np.int64)[:, None],
            ),
            state,
        )
        valid = t < steps
        h, state = np.where(valid, new_h, h), np.where(valid, new_state, state)
        made[t] = np.where(valid, h, 0)
    return h.astype(np.int8) if layer.last else made


@KERNELS.register("last_step")
def _last(layer: LastStep, inputs: list[Any], points: list[int], zero_out: int) -> Int8:
    x, lengths = inputs[0], inputs[1] if len(inputs) > 1 else None
    steps = valid_steps(layer.lengths, len(x), lengths, x.shape[-1])
    return np.ascontiguousarray(x[steps - 1, :, np.arange(x.shape[-1])].T)


@KERNELS.register("mean_steps")
def _mean(layer: MeanSteps, inputs: list[Any], points: list[int], zero_out: int) -> Int8:
    x, lengths = inputs[0], inputs[1] if len(inputs) > 1 else None
    steps = valid_steps(layer.lengths, len(x), lengths, x.shape[-1])
    valid = (np.arange(len(x))[:, None] < steps)[:, None]
    total = ((x.astype(np.int64) - points[0]) * valid).sum(0)
    return np.asarray(points[0] + (2 * total + steps) // (2 * steps), np.int8)
