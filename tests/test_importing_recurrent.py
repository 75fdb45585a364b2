"""Recurrent layers, normalizations and products of tensors in model files: read, compared with torch and with their runtimes."""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support_models import lstm_tflite, node, onnx_model, run_onnx, weights
from support_operators import Applied
from torch import Tensor, nn

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.importing import Source, read_model
from sparsemod.pipeline.model_report import integer_network

STEPS, SEQUENCE, VECTOR, IMAGE = (7, 4), (4, 12), (6,), (3, 8, 8)


class Recurrent(nn.Module):
    """A recurrent layer read in one of the usual ways, and a linear layer."""

    def __init__(self, cell: str, read: str, both: bool = False, layers: int = 1, first: bool = True) -> None:
        super().__init__()
        self.layer = getattr(nn, cell)(4, 5, layers, batch_first=first, bidirectional=both)
        self.head = nn.Linear(10 if both else 5, 3)
        self.read, self.both, self.first = read, both, first

    def forward(self, x: Tensor) -> Tensor:
        steps, state = self.layer(x if self.first else x.transpose(0, 1))
        state = state[0] if isinstance(state, tuple) else state
        steps = steps if self.first else steps.transpose(0, 1)
        if self.read == "state":
            steps = torch.cat([state[-2], state[-1]], 1) if self.both else state[-1]
        elif self.read != "all":
            steps = steps[:, -1] if self.read == "last" else steps.mean(1)
        made: Tensor = self.head(steps)
        return made


def of(function: Callable[..., Tensor], *layers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Applied(function, *(layer() for layer in layers))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "GRU, last step": (lambda: Recurrent("GRU", "last"), STEPS),
    "GRU, both directions, two layers, mean": (lambda: Recurrent("GRU", "mean", True, 2), STEPS),
    "GRU, state": (lambda: Recurrent("GRU", "state"), STEPS),
    "GRU, states of both directions": (lambda: Recurrent("GRU", "state", True), STEPS),
    "GRU, two layers, all steps": (lambda: Recurrent("GRU", "all", layers=2), STEPS),
    "GRU, time first": (lambda: Recurrent("GRU", "last", first=False), STEPS),
    "LSTM, last step": (lambda: Recurrent("LSTM", "last"), STEPS),
    "LSTM, both directions, two layers, mean": (lambda: Recurrent("LSTM", "mean", True, 2), STEPS),
    "LSTM, states of both directions": (lambda: Recurrent("LSTM", "state", True), STEPS),
    "convolution and LSTM": (
        of(lambda x, c, r: r(torch.relu(c(x)).transpose(1, 2))[0][:, -1], lambda: nn.Conv1d(4, 6, 3), lambda: nn.LSTM(6, 5, batch_first=True)), SEQUENCE,
    ),
    "layer norm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3)), VECTOR),
    "layer norm of an image": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm([4, 6, 6]), nn.Flatten(), nn.Linear(144, 3)), IMAGE),
    "group norm": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)), IMAGE),
    "instance norm": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Flatten(), nn.Linear(144, 3)), IMAGE),
    "product of two tensors": (of(lambda x: torch.bmm(x, x.transpose(1, 2))), SEQUENCE),
}  # fmt: skip


def written(module: nn.Module, shape: tuple[int, ...], suffix: str) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if suffix == "onnx":
            torch.onnx.export(module, (torch.zeros(1, *shape),), file, dynamo=False, opset_version=17)
        else:
            sizes = ({0: torch.export.Dim("n")},)
            torch.export.save(
                torch.export.export(module, (torch.zeros(2, *shape),), dynamic_shapes=sizes), file
            )
    return file.getvalue()


@pytest.mark.slow(every=4)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
@pytest.mark.parametrize("name", MODELS)
def test_models_are_read_and_quantized(name: str, suffix: str) -> None:
    make, shape = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, x = make().eval(), torch.randn(9, *shape)
    model = read_model(Source(f"m.{suffix}", written(module, shape, suffix)))
    assert model.module is not None
    with torch.no_grad():
        truth, found = module(x), model.module(x)
    torch.testing.assert_close(found, truth, atol=1e-5, rtol=1e-4)
    network, _ = integer_network(model)
    answers = network.logits(x.numpy()).reshape(truth.shape)
    assert np.abs(answers - truth.numpy()).max() < 0.2 * float(truth.abs().max())


GRU = {"w": weights(1, 15, 4), "r": weights(1, 15, 5, seed=1), "b": weights(1, 30, seed=2)}
LSTM = {"w": weights(1, 20, 4), "r": weights(1, 20, 5, seed=1), "b": weights(1, 40, seed=2)}


def recurrent_nodes(kind: str, inputs: str = "t w r b", **attributes: Any) -> list[Any]:
    attributes = {"hidden_size": 5, **({"linear_before_reset": 1} if kind == "GRU" else {}), **attributes}
    return [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node(kind, inputs, "all last", **attributes),
        node("Squeeze", "last zero", "y"),
    ]


@pytest.mark.parametrize(("kind", "direction"), [("GRU", "forward"), ("GRU", "reverse"), ("LSTM", "reverse")])
def test_directions_of_onnx(kind: str, direction: str) -> None:
    constants = {**(GRU if kind == "GRU" else LSTM), "zero": np.array([0])}
    content = onnx_model(recurrent_nodes(kind, direction=direction), constants, STEPS, ("n", 5))
    x = np.random.default_rng(3).normal(size=(4, *STEPS)).astype(np.float32)
    module = read_model(Source("m.onnx", content)).module
    assert module is not None
    with torch.no_grad():
        np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), run_onnx(content, x), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "attributes", "words"),
    [
        ("GRU", {"linear_before_reset": 0}, "resets the state before the product"),
        ("GRU", {"clip": 3.0}, "clip"),
        ("GRU", {"activations": ["Relu", "Tanh"]}, "other activations"),
        ("LSTM", {"input_forget": 1}, "input_forget"),
    ],
)
def test_other_recurrent_layers_of_onnx_are_refused(kind: str, attributes: Any, words: str) -> None:
    constants = {**(GRU if kind == "GRU" else LSTM), "zero": np.array([0])}
    content = onnx_model(recurrent_nodes(kind, **attributes), constants, STEPS, ("n", 5))
    with pytest.raises(Unsupported, match=rf"{kind}.*{words}"):
        read_model(Source("m.onnx", content))


def test_a_first_state_that_is_not_zero_is_refused() -> None:
    constants = {**GRU, "zero": np.array([0]), "h": np.ones((1, 1, 5), np.float32)}
    content = onnx_model(recurrent_nodes("GRU", "t w r b  h"), constants, STEPS, ("n", 5))
    with pytest.raises(Unsupported, match="a state at the start that is not zero"):
        read_model(Source("m.onnx", content))


def test_weights_that_do_not_fit_name_the_layer() -> None:
    constants = {**GRU, "r": weights(1, 15, 4), "zero": np.array([0])}
    content = onnx_model(recurrent_nodes("GRU"), constants, STEPS, ("n", 5))
    with pytest.raises(InvalidInput, match=r"GRU.*weights of shapes"):
        read_model(Source("m.onnx", content))


def test_an_axis_that_mixes_the_batch_with_others_is_refused() -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("Softmax", "t", "s", axis=1),
        node("Flatten", "s", "y"),
    ]
    with pytest.raises(Unsupported, match="the batch axis stays"):
        read_model(Source("m.onnx", onnx_model(nodes, {}, STEPS)))


def test_operators_between_two_transposes() -> None:
    """The batch is axis 1 in between, as in models that keep time first."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("MatMul", "t w", "m"), node("Add", "m b", "a"), node("Tanh", "a", "h"),
        node("Gather", "h last", "g", axis=0), node("Mul", "g g", "y"),
    ]  # fmt: skip
    constants = {"w": weights(4, 5), "b": weights(5), "last": np.array(-1)}
    content = onnx_model(nodes, constants, STEPS, ("n", 5))
    x = np.random.default_rng(3).normal(size=(4, *STEPS)).astype(np.float32)
    module = read_model(Source("m.onnx", content)).module
    assert module is not None
    with torch.no_grad():
        np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), run_onnx(content, x), atol=1e-5)


def test_an_lstm_of_tensorflow_lite() -> None:
    from ai_edge_litert.interpreter import Interpreter

    content = lstm_tflite()
    model = read_model(Source("m.tflite", content))
    assert model.module is not None and model.shape == (6, 3)
    x = np.random.default_rng(0).normal(size=(3, 6, 3)).astype(np.float32)
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    for sample in x:
        interpreter.reset_all_variables()
        interpreter.set_tensor(given, sample[None])
        interpreter.invoke()
        with torch.no_grad():
            found = model.module(torch.from_numpy(sample[None])).numpy()
        np.testing.assert_allclose(found, interpreter.get_tensor(made), atol=1e-5)
    assert "lstm" in [layer.kind for layer in integer_network(model)[0].layers]


@pytest.mark.parametrize("program", ["view", "zeros"])
def test_programs_that_move_the_batch_or_use_zeros_are_refused(program: str) -> None:
    """Attention of torch has the batch as its second axis; the reader names the call instead of failing."""
    makers: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
        "view": (Applied(lambda x, m: m(x, x, x)[0], nn.MultiheadAttention(16, 2, batch_first=True)), (12, 16), "batch must stay the first axis"),
        "zeros": (Applied(lambda x: torch.cat([x, torch.zeros(x.shape[0], 2)], 1)), VECTOR, "zeros other than the first state"),
    }  # fmt: skip
    module, shape, words = makers[program]
    with pytest.raises(Unsupported, match=words):
        read_model(Source("m.pt2", written(module.eval(), shape, "pt2")))
