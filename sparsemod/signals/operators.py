"""The float meaning of the spectral and statistical layers, as torch operators that capture keeps whole."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sparsemod.signals import tables


def frames(x: Tensor, window: int, hop: int) -> Tensor:
    """Return the frames (..., L // hop, window) of signals (..., L); see `sparsemod.signals.tables`."""
    x = functional.pad(x, (window - hop, 0)) if window > hop else x[..., hop - window :]
    return x.unfold(-1, window, hop)


@cache
def _bands(size: int, rate: float, bands: int, low: float, high: float, mel: bool) -> Tensor:
    return torch.from_numpy(tables.weights(size, tables.edges(size, rate, bands, low, high, mel)).T.copy())


def energies(
    x: Tensor, window: int, hop: int, rate: float, bands: int, low: float, high: float, mel: bool, coefficients: int, floor: float
) -> Tensor:  # fmt: skip
    """Return the features (N, C x features, L // hop) of signals (N, C, L).

    v[b] = log2(max(E[b], floor) / floor), with E[b] the energy of the Hann-windowed frame's spectrum in band b; with `coefficients` the
    first ones of the orthonormal DCT-II of v.
    """
    size = tables.fft_size(window)
    hann = torch.from_numpy(tables.hann(window)).to(x)
    spectrum = torch.fft.rfft(frames(x, window, hop) * hann, size)
    energy = (spectrum.real**2 + spectrum.imag**2) @ _bands(size, rate, bands, low, high, mel).to(x)
    made = torch.log2(energy.clamp(min=floor) / floor)
    if coefficients:
        made = made @ torch.from_numpy(tables.cosines(coefficients, bands).T.copy()).to(x)
    return made.transpose(2, 3).flatten(1, 2)


def statistics(x: Tensor, window: int, hop: int) -> Tensor:
    """Return the features (N, C x 5, L // hop) of signals (N, C, L): mean, standard deviation, smallest and largest value, crossings.

    Crossings are the steps of a window over its mean, upwards and downwards, as a share of its samples.
    """
    cut = frames(x, window, hop)
    mean = cut.mean(-1)
    above = cut > mean[..., None]
    crossings = (above[..., 1:] != above[..., :-1]).sum(-1) / window
    parts = (mean, cut.var(-1, unbiased=False).clamp(min=1e-24).sqrt(), cut.amin(-1), cut.amax(-1), crossings)
    return torch.stack([part.to(x) for part in parts], 2).flatten(1, 2)


@torch.library.custom_op("sparsemod::band_energies", mutates_args=())
def _energies(
    x: Tensor, window: int, hop: int, rate: float, bands: int, low: float, high: float, mel: bool, coefficients: int, floor: float
) -> Tensor:  # fmt: skip
    return energies(x, window, hop, rate, bands, low, high, mel, coefficients, floor).contiguous()


@_energies.register_fake
def _(
    x: Tensor, window: int, hop: int, rate: float, bands: int, low: float, high: float, mel: bool, coefficients: int, floor: float
) -> Tensor:  # fmt: skip
    return x.new_empty(x.shape[0], x.shape[1] * (coefficients or bands), x.shape[2] // hop)


@torch.library.custom_op("sparsemod::window_statistics", mutates_args=())
def _statistics(x: Tensor, window: int, hop: int) -> Tensor:
    return statistics(x, window, hop).contiguous()


@_statistics.register_fake
def _(x: Tensor, window: int, hop: int) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] * len(tables.STATISTICS), x.shape[2] // hop)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.others = inputs[1:]


def _gradient(function: Callable[..., Tensor]) -> Callable[..., Any]:
    def backward(ctx: Any, gradient: Tensor) -> Any:
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            (found,) = torch.autograd.grad(function(x, *ctx.others), x, gradient)
        return (found, *[None] * len(ctx.others))

    return backward


_energies.register_autograd(_gradient(energies), setup_context=_keep)
_statistics.register_autograd(_gradient(statistics), setup_context=_keep)

band_energies: Callable[..., Tensor] = _energies
window_statistics: Callable[..., Tensor] = _statistics
