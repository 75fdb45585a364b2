"""C99 projects: one self-contained folder per integer network, with the interpreter's results bit for bit.

`project(network, folder)` writes a project, `generate(network)` only generates its texts. `plan(network)` is the memory that the
project links. `host_run(network, images)` compiles and runs the project on this machine.
"""

from sparsemod.export.c.arena import ArenaPlan, plan
from sparsemod.export.c.host import host_run
from sparsemod.export.c.kernel_files import kernel_sources
from sparsemod.export.c.layers import CLayer
from sparsemod.export.c.project import CProject, generate, project

__all__ = ["ArenaPlan", "CLayer", "CProject", "generate", "host_run", "kernel_sources", "plan", "project"]
