"""TensorFlow Lite's LSTM over a sequence, with float activations."""

import numpy as np

from sparsemod.importing.readers.tflite_file import Call, State, rule

_INPUT, _HIDDEN, _PEEPHOLES, _BIASES, _PROJECTION, _NORMS = (
    (1, 2, 3, 4),
    (5, 6, 7, 8),
    (9, 10, 11),
    (12, 13, 14, 15),
    (16, 17),
    (20, 21, 22, 23),
)
_STATES = (18, 19)


@rule("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _lstm(call: Call) -> str:
    """The gates are input, forget, cell and output, in torch's order. The states start at zero."""
    builder, kinds = call.builder, call.file.schema.ActivationFunctionType
    problems = {
        "an int8 layer: its gates are computed in other fixed-point numbers here; convert the model with float activations": call.tensor() in builder.scales,
        "time before batch": bool(call.option("timeMajor")),
        "input and forget gate coupled": call.given(1) is None,
        "peepholes": any(call.given(place) is not None for place in _PEEPHOLES),
        "a projection": any(call.given(place) is not None for place in _PROJECTION),
        "layer normalization": any(call.given(place) is not None for place in _NORMS),
        "another activation than tanh": call.option("fusedActivationFunction", kinds.TANH) != kinds.TANH,
        "a clipped projection": bool(call.option("projClip", 0.0)),
        "a first state from elsewhere": any(not isinstance(call.given(place), State) for place in _STATES),
        "samples that are no sequences": len(call.shape()) != 2,
    }  # fmt: skip
    for hint, applies in problems.items():
        if applies:
            raise builder.unsupported(hint)
    clip = float(call.option("cellClip", 0.0) or 0.0)
    if clip:
        builder.notes.append(f"{builder.title}: the file clips the cell to {clip:g}; here it is -16 to 16")
    direction = {
        "input": np.concatenate([call.real(place) for place in _INPUT]),
        "hidden": np.concatenate([call.real(place) for place in _HIDDEN]),
        "input_bias": np.concatenate([call.real(place).reshape(-1) for place in _BIASES]),
    }
    direction["hidden_bias"] = np.zeros_like(direction["input_bias"])
    units = len(direction["input_bias"]) // 4
    if direction["hidden"].shape != (4 * units, units) or direction["input"].shape != (
        4 * units,
        call.shape()[1],
    ):
        raise builder.broken(
            f"weights of shapes {direction['input'].shape} and {direction['hidden'].shape} for {units} units"
        )
    return call.emit(
        "recurrent", (call.tensor(),), cell="lstm", directions=[direction], backwards=False, last=False
    )
