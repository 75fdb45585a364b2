"""C99 projects: one self-contained folder per integer network, bit for bit the network that the interpreter runs.

`project(network, folder)` writes one, `generate(network)` only makes the texts; `plan(network)` is the memory that the project links;
`host_run(network, images)` compiles and runs it here.
"""

from sparsemod.export.c.arena import ArenaPlan, plan
from sparsemod.export.c.host import host_run
from sparsemod.export.c.layers import CLayer
from sparsemod.export.c.project import CProject, generate, kernel_sources, project

__all__ = ["ArenaPlan", "CLayer", "CProject", "generate", "host_run", "kernel_sources", "plan", "project"]
