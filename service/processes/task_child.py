"""The child's side of `service.processes.task_process`: a process that runs tasks one after another.

Each line of standard input is a task, each line of standard output its answer:

    {"function": "module:name", "imports": [module, ...], "task": ...}
    {"result": ...}    or    {"error": message}

It ends when its input ends or when its parent dies.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from service.processes.supervised import die_first, die_with_parent
from sparsemod.errors import ProcessUnusable, SparsemodError
from sparsemod.registry import summarize_error


def resolve(reference: str) -> Callable[..., Any]:
    """Import and return the function that "module:attribute" names."""
    module, _, attribute = reference.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function


def main(parent: int) -> None:
    """Run tasks for the process `parent`. A failed task gets an answer and does not end this process.

    Raises ProcessUnusable when only a new process can run the task.
    """
    die_with_parent(parent)
    die_first()
    # Output of libraries and of users' modules must not mix with the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            answers.write(_answer(json.loads(line)) + "\n")
            answers.flush()


def _answer(request: dict[str, Any]) -> str:
    try:
        for module in request["imports"]:
            importlib.import_module(module)
        result = resolve(request["function"])(request["task"])
        return json.dumps({"result": result}, separators=(",", ":"))
    except ProcessUnusable:
        raise  # this process ends, and the task runs again in a new one
    except SparsemodError as error:
        return json.dumps({"error": str(error)})
    except (Exception, SystemExit) as error:  # noqa: BLE001
        # Libraries and users' modules may raise anything. The next task may concern another module.
        return json.dumps({"error": summarize_error(error)})


if __name__ == "__main__":
    main(int(sys.argv[1]))
