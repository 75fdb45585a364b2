"""Integer networks as calls of CMSIS-NN, from a checkout that the user has, for the comparison in `kernels.py`."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sparsemod.arena import plan as plan_arena
from sparsemod.emulator import Program
from sparsemod.export.c import plan
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.arithmetic import quantize_multiplier
from sparsemod.quantization.layers import Add, AvgPool, Conv, GlobalAvgPool, Layer, Linear, MaxPool

_FOLDERS = ("BasicMath", "Convolution", "FullyConnected", "NNSupport", "Pooling", "Transpose")
_MARK = "#ifndef NN_LAYER_DONE\n#define NN_LAYER_DONE(layer) ((void)0)\n#endif\n"


def sources(checkout: Path) -> dict[str, str]:
    """Return the files of a CMSIS-NN checkout that int8 networks need, in one folder. Raises FileNotFoundError for another folder."""
    include = checkout / "Include"
    found = {path.name: path.read_text() for path in sorted(include.glob("*.h"))}
    found |= {
        f"Internal/{path.name}": path.read_text() for path in sorted((include / "Internal").glob("*.h"))
    }
    config = "Internal/arm_nn_config.h"
    if config not in found:
        raise FileNotFoundError(f"{include / config}: --cmsis-nn wants a checkout of ARM-software/CMSIS-NN")
    found[config] = f"#define CMSIS_NN_USE_SINGLE_ROUNDING\n{found[config]}"
    for folder in _FOLDERS:
        for path in sorted((checkout / "Source" / f"{folder}Functions").glob("*.c")):
            if "_f16" not in path.name and "_f32" not in path.name:
                found[path.name] = path.read_text()
    return found


class Writer:
    """The C code of one network."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.network, self.plan = network, plan(network, "")
        problem = self.plan.layout.problem
        # Its convolutions may not overwrite their inputs.
        apart = {str(i) for i, node in enumerate(self.plan.layout.nodes) if node.kind in ("conv", "linear")}
        steps = tuple(
            replace(
                step,
                scratch=0,
                overlaps={n: d for n, d in step.overlaps.items() if d == 0 and step.name not in apart},
            )
            for step in problem.steps
        )
        self.memory = plan_arena(replace(problem, steps=steps))
        self.constants: list[str] = []
        self.calls: list[str] = []
        self.sizes: list[str] = []

    def array(self, kind: str, name: str, values: Any) -> str:
        text = ", ".join(map(str, np.asarray(values).reshape(-1).tolist()))
        self.constants.append(f"static const {kind} {name}[] = {{{text}}};")
        return name

    def place(self, tensor: str) -> str:
        buffer = self.plan.layout.buffer_of[tensor]
        if buffer == self.network.input:
            return "input"
        return "output" if buffer in self.plan.layout.outside else f"(arena + {self.memory.offsets[buffer]})"

    def dims(self, tensor: str) -> str:
        channels, rows, columns = self.network.named.image(tensor)
        return f"&(cmsis_nn_dims){{1, {rows}, {columns}, {channels}}}"

    def zero(self, tensor: str) -> int:
        return self.network.tensors[tensor].zero_point

    def layer(self, name: str, layer: Layer) -> None:
        make: dict[type, Any] = {Conv: self.conv, Linear: self.linear, Add: self.add}
        pooling = {MaxPool: "max", AvgPool: "avg", GlobalAvgPool: "avg"}
        if type(layer) in pooling:
            self.pool(layer, pooling[type(layer)])
        elif type(layer) in make:
            make[type(layer)](name, layer)
        else:
            raise NotImplementedError(f"{layer.kind} is not compared")

    def quantization(self, name: str, layer: Any) -> str:
        multiplier = self.array("int32_t", f"{name}_multiplier", layer.multiplier)
        return f"(int32_t *){multiplier}, (int32_t *){self.array('int32_t', f'{name}_shift', layer.shift)}"

    def conv(self, name: str, layer: Conv) -> None:
        source, made = layer.inputs[0], layer.output
        filters, depth, rows, columns = layer.weight.shape
        depthwise = layer.depthwise
        axes = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
        weights = self.array("int8_t", f"{name}_weights", layer.weight.transpose(axes))
        bias = self.array("int32_t", f"{name}_bias", layer.bias)
        top, _, left, _ = layer.padding
        (down, right), word = layer.stride, "dw_conv" if depthwise else "conv"
        multiple = "1, " if depthwise else ""
        parameters = (
            f"&(cmsis_nn_{word}_params){{{-self.zero(source)}, {self.zero(made)}, {multiple}{{{right}, {down}}}, {{{left}, {top}}}, "
            f"{{{layer.dilation[1]}, {layer.dilation[0]}}}, {{{layer.low}, {layer.high}}}}}"
        )
        filter_dims = f"&(cmsis_nn_dims){{{1 if depthwise else filters}, {rows}, {columns}, {filters if depthwise else depth}}}"
        function = "arm_depthwise_conv_wrapper_s8" if depthwise else "arm_convolve_wrapper_s8"
        self.sizes.append(
            f"{function}_get_buffer_size({parameters}, {self.dims(source)}, {filter_dims}, {self.dims(made)})"
        )
        self.calls.append(
            f"{function}(&(cmsis_nn_context){{buffer, sizeof buffer}}, {parameters}, "
            f"&(cmsis_nn_per_channel_quant_params){{{self.quantization(name, layer)}}}, {self.dims(source)}, {self.place(source)}, {filter_dims}, "
            f"{weights}, &(cmsis_nn_dims){{1, 1, 1, {filters}}}, {bias}, {self.dims(made)}, {self.place(made)});"
        )

    def linear(self, name: str, layer: Linear) -> None:
        source, made, weight = layer.inputs[0], layer.output, layer.weight
        order = self.plan.layout.order_of.get(source)
        if order is not None:
            weight = weight.reshape(-1, *order).transpose(0, 2, 3, 1).reshape(weight.shape)
        outputs, taps = weight.shape
        sums = weight.astype(np.int64).sum(1) * -self.zero(source) + layer.bias
        self.array("int8_t", f"{name}_weights", weight)
        self.array("int32_t", f"{name}_bias", layer.bias)
        # Helium's kernel reads sums that are computed once.
        self.constants.append("#if defined(ARM_MATH_MVEI)")
        self.array("int32_t", f"{name}_sums", sums)
        self.constants.append(f"#else\n#define {name}_sums 0\n#endif")
        filter_dims = f"&(cmsis_nn_dims){{{taps}, 1, 1, {outputs}}}"
        self.sizes.append("0")
        self.calls.append(
            f"arm_fully_connected_wrapper_s8(&(cmsis_nn_context){{(void *){name}_sums, {4 * outputs}}}, "
            f"&(cmsis_nn_fc_params){{{-self.zero(source)}, 0, {self.zero(made)}, {{{layer.low}, {layer.high}}}}}, "
            f"&(cmsis_nn_quant_params){{{self.quantization(name, layer)}, 1}}, &(cmsis_nn_dims){{1, 1, 1, {taps}}}, {self.place(source)}, "
            f"{filter_dims}, {name}_weights, &(cmsis_nn_dims){{1, 1, 1, {outputs}}}, {name}_bias, "
            f"&(cmsis_nn_dims){{1, 1, 1, {outputs}}}, {self.place(made)});"
        )

    def pool(self, layer: Any, word: str) -> None:
        source, made = layer.inputs[0], layer.output
        channels, rows, columns = self.network.named.image(source)
        whole = isinstance(layer, GlobalAvgPool)
        kernel, stride = ((rows, columns), (1, 1)) if whole else (layer.kernel, layer.stride)
        top, _, left, _ = (0, 0, 0, 0) if whole else layer.padding
        out = f"&(cmsis_nn_dims){{1, 1, 1, {channels}}}" if whole else self.dims(made)
        self.sizes.append("0" if word == "max" else f"arm_avgpool_s8_get_buffer_size({columns}, {channels})")
        self.calls.append(
            f"arm_{'max_pool' if word == 'max' else 'avgpool'}_s8(&(cmsis_nn_context){{buffer, sizeof buffer}}, "
            f"&(cmsis_nn_pool_params){{{{{stride[1]}, {stride[0]}}}, {{{left}, {top}}}, {{-128, 127}}}}, {self.dims(source)}, {self.place(source)}, "
            f"&(cmsis_nn_dims){{1, {kernel[0]}, {kernel[1]}, 1}}, {out}, {self.place(made)});"
        )

    def add(self, name: str, layer: Add) -> None:
        scales = [self.network.tensors[each].scale for each in layer.inputs]
        out, largest, left = self.network.tensors[layer.output].scale, 2 * max(scales), 20
        parts = [quantize_multiplier(scale / largest) for scale in scales]
        (scaled,), (shift,) = quantize_multiplier(largest / (2.0**left * out))
        first, second = (
            f"{-self.zero(each)}, {m[0]}, {s[0]}" for each, (m, s) in zip(layer.inputs, parts, strict=True)
        )
        self.sizes.append("0")
        self.calls.append(
            f"arm_elementwise_add_s8({self.place(layer.inputs[0])}, {self.place(layer.inputs[1])}, {first}, {second}, {left}, "
            f"{self.place(layer.output)}, {self.zero(layer.output)}, {scaled}, {shift}, {layer.low}, {layer.high}, "
            f"{self.network.named.elements(layer.output)});"
        )


def program(network: IntegerNetwork, files: dict[str, str], buffer: int | None) -> Program:
    """Return the program with a static `buffer` for all kernels; None: a program whose output is each layer's need of it, as words."""
    writer = Writer(network)
    by_output = {layer.output: layer for layer in network.layers}
    nodes = [writer.plan.layout.nodes[index] for index in writer.memory.order]
    for index, node in enumerate(nodes):
        writer.layer(f"l{index}", by_output[node.output])
    if buffer is None:
        body = "".join(
            f"    size = {each}; memcpy(output + {4 * i}, &size, 4);\n" for i, each in enumerate(writer.sizes)
        )
        body = f"    int32_t size;\n    (void)input;\n{body}"
    else:
        body = "".join(f"    {call}\n    NN_LAYER_DONE({i});\n" for i, call in enumerate(writer.calls))
    declared = "" if buffer is None else "\n".join(writer.constants)
    memory = (
        f"static int32_t words[{(max(writer.memory.size, 4) + 3) // 4}];\n#define arena ((int8_t *)words)\n"
    )
    memory += (
        f"static int32_t buffer[{(buffer + 3) // 4}];\n" if buffer else "#define buffer (int8_t[4]){0}\n"
    )
    text = (
        f'#include <string.h>\n#include "arm_nnfunctions.h"\n{_MARK}{declared}\n{memory}'
        "void network_run(const int8_t *input, int8_t *output);\n"
        f"void network_run(const int8_t *input, int8_t *output)\n{{\n{body}}}\n"
    )
    outputs = 4 * len(nodes) if buffer is None else math.prod(network.tensors[network.output].shape)
    layers = tuple(node.name for node in nodes)
    # The linker drops an arena that no call reads: that of a single layer, whose input is the caller's here.
    unused = 0 if "(arena + " in body else (writer.memory.size + 3) // 4 * 4
    return Program(files, {"network.c": text}, layers, math.prod(network.input_shape), outputs, unused)
