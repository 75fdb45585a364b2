"""Boards for tests: a small network, a kernel that is wrong on purpose, and a pseudo-terminal that answers as told."""

import contextlib
import os
import pty
import threading
import tty
from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import nn

from sparsemod.export.c import kernel_sources
from sparsemod.quantization import IntegerNetwork, quantize


@cache
def small_network() -> IntegerNetwork:
    """Convolution, pooling and a linear layer on 2 x 8 x 6."""
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 5)
    )
    network = quantize(module, torch.randn(32, 2, 8, 6))
    assert isinstance(network, IntegerNetwork)
    return network


def wrong_pooling() -> dict[str, str]:
    """Return the max pooling kernel with an error in element 5 of its output: the value plus 3."""
    name = "nn_max_pool.c"
    text = kernel_sources()[name]
    head = "    const nn_window *window = &layer->window;\n    const int32_t channels = window->channels;\n"
    end = text.rindex("}\n")
    assert text.count(head) == 1
    wrong = text[:end] + "    start[5] = (int8_t)(start[5] + 3);\n" + text[end:]
    return {f"kernels/{name}": wrong.replace(head, f"    int8_t *start = output;\n{head}")}


@contextlib.contextmanager
def pseudo_board(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """Yield the path of a pseudo-terminal behind which `answer` turns each received line into bytes."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)

    def serve() -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while read := os.read(ours, 4096):
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    os.write(ours, answer(line))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        os.close(theirs)
        thread.join(10)
        os.close(ours)
