"""C99 projects of dynamically quantized networks: int8 weights, float32 tensors between the layers.

As the projects of integer networks, with other kernels (kernels/nd.h). Compiled for any core with IEEE floats, they give the network's
outputs bit for bit. Weights are stored densely, and there is no streaming form.
"""

from sparsemod.export.c.dynamic.host import host_run, host_run_all
from sparsemod.export.c.dynamic.memory import plan
from sparsemod.export.c.dynamic.project import DynamicProject, generate, kernel_sources, project

__all__ = ["DynamicProject", "generate", "host_run", "host_run_all", "kernel_sources", "plan", "project"]
