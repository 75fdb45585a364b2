"""Files around a project's C code: example, build files, README."""

from collections.abc import Sequence
from typing import Protocol

from sparsemod.export.c import sources, text
from sparsemod.export.c.arena import ArenaPlan
from sparsemod.export.c.layers import CLayer
from sparsemod.export.c.sources import LICENCE
from sparsemod.quantization.integer_network import IntegerNetwork

WARNINGS = "-Wall -Wextra -Wconversion -pedantic"


class Described(Protocol):
    """The facts about a project that the pages contain."""

    @property
    def name(self) -> str: ...

    @property
    def arena(self) -> ArenaPlan: ...

    @property
    def layers(self) -> Sequence[CLayer]: ...

    @property
    def sources(self) -> Sequence[str]: ...

    @property
    def data_bytes(self) -> int: ...


def pages(project: Described, network: IntegerNetwork, device: str | None) -> dict[str, str]:
    """Return main.c, Makefile, CMakeLists.txt and README.md."""
    return {
        "main.c": _main(project, network),
        "Makefile": _makefile(project),
        "CMakeLists.txt": _cmake(project),
        "README.md": _readme(project, network, device),
    }


def _main(project: Described, network: IntegerNetwork) -> str:
    name, macro = project.name, project.name.upper()
    if sources.scores(network):
        words, buffers = "its class", ""
        print_result = f"""        const int best = {name}_classify(output);
        printf("%d\\n", best);
"""
        if network.classes:
            words = "the number and the name of its class"
            print_result = print_result.replace('"%d\\n", best', f'"%d %s\\n", best, {name}_labels[best]')
    else:
        words = "its outputs"
        buffers = f"    static float real[{macro}_OUTPUT_SIZE];\n"
        print_result = f"""        {name}_dequantize(output, real);
        for (int i = 0; i < {macro}_OUTPUT_SIZE; ++i) {{
            printf("%.9g%c", (double)real[i], i + 1 < {macro}_OUTPUT_SIZE ? ' ' : '\\n');
        }}
"""
    return f"""{LICENCE}
/*
 * Example: reads samples from standard input, {macro}_INPUT_SIZE floats each (as in memory), and prints {words} in a line for each.
 * On a microcontroller: fill a buffer from the sensor instead, and keep the calls.
 */
#include "{name}.h"

#include <stdio.h>

int main(void)
{{
    static float sample[{macro}_INPUT_SIZE];
    static int8_t output[{macro}_OUTPUT_SIZE];
{buffers}
    while (fread(sample, sizeof sample, 1, stdin) == 1) {{
        {name}_quantize(sample, {name}_input());
        {name}_run({name}_input(), output);
{print_result}    }}
    return 0;
}}
"""


def _makefile(project: Described) -> str:
    name = project.name
    objects = " \\\n          ".join(path.removesuffix(".c") + ".o" for path in project.sources)
    return f"""# make: the library lib{name}.a and the example. For a device, for instance:
#   make lib{name}.a CC=arm-none-eabi-gcc AR=arm-none-eabi-ar CFLAGS="-O2 -mcpu=cortex-m4 -mthumb -ffunction-sections -fdata-sections"
CFLAGS ?= -O2
override CFLAGS += -std=c99 {WARNINGS} -I.

OBJECTS = {objects}

all: lib{name}.a example

lib{name}.a: $(OBJECTS)
\t$(AR) rcs $@ $(OBJECTS)

example: main.o lib{name}.a
\t$(CC) $(CFLAGS) -o $@ main.o lib{name}.a

$(OBJECTS) main.o: {name}.h {name}.weights.h kernels/nn.h

clean:
\trm -f $(OBJECTS) main.o lib{name}.a example

.PHONY: all clean
"""


def _cmake(project: Described) -> str:
    name = project.name
    files = "\n  ".join(project.sources)
    return f"""cmake_minimum_required(VERSION 3.13)
project({name} C)

add_library({name} STATIC
  {files})
target_include_directories({name} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})
set_target_properties({name} PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
target_compile_options({name} PRIVATE {WARNINGS})

# As part of another project: add_subdirectory(...) and target_link_libraries(firmware {name}).
if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR AND NOT CMAKE_CROSSCOMPILING)
  add_executable(example main.c)
  target_link_libraries(example {name})
endif()
"""


def _readme(project: Described, network: IntegerNetwork, device: str | None) -> str:
    name, arena = project.name, project.arena
    macs = sum(info.macs for info in network.layers_info())
    model_input, model_output = network.tensors[network.input], network.tensors[network.output]
    alive = [moment for _, moment in arena.timeline]
    table = "".join(
        f"| {layer.index} | {_cell(layer.name)} | {layer.title} | {layer.encoding or '-'} | {layer.data_bytes} | {bytes_} |\n"
        for layer, bytes_ in zip(project.layers, alive, strict=True)
    )
    result = (
        f"int winner = {name}_classify(output);   /* the largest output */"
        if sources.scores(network)
        else f"float real[{name.upper()}_OUTPUT_SIZE];\n{name}_dequantize(output, real);   /* int8 -> real numbers */"
    )
    labels = ""
    if network.classes:
        rows = "".join(f"| {i} | {_label(label)} |\n" for i, label in enumerate(network.classes))
        labels = f"\n`{name}_labels` holds the names of the classes:\n\n| class | name |\n|---|---|\n{rows}"
    target = f" Made for {text.comment(device)}." if device else ""
    words = {"height": "row", "width": "column", "length": "position", "channels": "channel"}
    axes = ", ".join(
        words.get(model_input.axes.axes[axis], model_input.axes.axes[axis])
        for axis in model_input.axes.memory
    )
    order = f", channels last ({axes})" if text.channels_last(model_input) else ""
    return f"""# {name}

An int8 neural network as plain C99, generated by sparsemod: no allocation, no operating system, of the C library only
`memcpy` and `memset`. Every compiler and core gives the same bytes.{target}

| | |
|---|---|
| Input | {text.shape(model_input)} int8{order} |
| Output | {text.shape(model_output)} int8 |
| Weights, biases and scales | {project.data_bytes} bytes of flash |
| Arena | {arena.size} bytes of RAM, the input included |
| Multiply-adds | {macs} |

## Use

```c
#include "{name}.h"

float sample[{name.upper()}_INPUT_SIZE];
int8_t output[{name.upper()}_OUTPUT_SIZE];

{name}_quantize(sample, {name}_input());   /* real numbers -> int8, straight into the arena */
{name}_run({name}_input(), output);
{result}
```

{sources.normalization(network, "")}

`{name}_run` reads its input where it is: a buffer of your own works as well, in RAM or flash, and is never written.
Calls are not reentrant, as they share the arena.
{labels}
## Build and flash

`make` builds `lib{name}.a` and the example for this machine; `make CC=arm-none-eabi-gcc ...` for a device (see the Makefile).
In CMake: `add_subdirectory({name})` and `target_link_libraries(firmware {name})`. In any IDE: add `{name}.c` and the .c files in
`kernels/`, and this folder to the include paths. Then build and flash your firmware as usual.

Several models in one firmware: keep each in its own folder, under its own name, and add all of them in this way. Models of one
release of sparsemod share their kernels; those of different releases have their own. Where an IDE puts all object files into one
folder, or the linker reports kernels defined twice (it has no weak symbols), add each file name of `kernels/` once.

With `-DNN_PROFILE`, `void nn_profile(int layer)`, which you define, is called after each layer.

## Layers

Bytes of flash are weights with their index, biases and scales. Encodings: dense; mask and gaps leave out zeros.

| | layer | kernel | weights | bytes of flash | bytes of RAM alive |
|---|---|---|---|---|---|
{table}
Licence: Apache-2.0, as sparsemod itself.
"""


def _label(name: str) -> str:
    """Escape a class's name for a Markdown table."""
    return " ".join(name.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _cell(name: str) -> str:
    return text.comment(name).replace("|", "\\|").replace("`", "'")
