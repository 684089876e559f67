"""Which builds of the kernels this machine can run, and the one in use.

`builds` names them, fastest first: ``avx512`` and ``avx2`` on x86-64 processors that have them,
``generic`` everywhere. The first is used; the environment variable FM_CORE_KERNELS names another.
Each text of kernels is one module a build, which `load` gives. That of mini-batch training has the
functions of `interface.Kernels`; `reference` has them in plain NumPy, for tests.
"""

import functools
import importlib
import importlib.util
import os
from typing import Any

# Read by libgomp when it is loaded, which _draw does: these lines stay above its import. A thread that waits looks
# 20,000 times, some 300 us, before it sleeps: that bridges the gap between two batches, and waking a thread of a
# virtual machine takes as long as some hundred rows. Endless spinning, libgomp's default, takes the cores from whoever
# else needs them: beside one busy process a step of two threads took 4.5 times as long, and 1.2 times so.
# docs/explanation/kernels.md has the figures.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from fm_core.errors import ConfigError
from fm_core.kernels import _draw
from fm_core.kernels._draw import draw
from fm_core.kernels._group import group, ungrouped
from fm_core.kernels.interface import OPTIMIZERS, PADDING, TILE, Kernels, Optimizer, Step, padded

__all__ = [
    "OPTIMIZERS",
    "PADDING",
    "TILE",
    "Kernels",
    "Optimizer",
    "Step",
    "available",
    "build_in_use",
    "builds",
    "draw",
    "group",
    "in_use",
    "load",
    "padded",
    "ungrouped",
]


@functools.cache
def builds() -> tuple[str, ...]:
    """Names of the builds that this processor can run, fastest first."""
    return tuple(name for name in _draw.builds() if importlib.util.find_spec(f"fm_core.kernels._minibatch_{name}"))


@functools.cache
def build_in_use() -> str:
    """Name of the build in use.

    Raises
    ------
    ConfigError
        FM_CORE_KERNELS names a build that does not exist or does not run here.
    """
    forced = os.environ.get("FM_CORE_KERNELS")
    if not forced:
        return builds()[0]
    if forced not in builds():
        raise ConfigError(
            f"FM_CORE_KERNELS is {forced!r}, expected one of those this machine runs: {', '.join(builds())}"
        )
    return forced


def load(text: str, build: str | None = None) -> Any:
    """Give the module of a text of kernels, ``minibatch`` for instance, in the build in use or in another.

    Raises
    ------
    ConfigError
        As `build_in_use`.
    """
    return importlib.import_module(f"fm_core.kernels._{text}_{build or build_in_use()}")


@functools.cache
def available() -> dict[str, Kernels]:
    """The kernels of mini-batch training in each build that runs here, by name, fastest first."""
    return {name: load("minibatch", name) for name in builds()}


@functools.cache
def in_use() -> tuple[str, Kernels]:
    """Name and kernels of mini-batch training of the build in use; raises as `build_in_use`."""
    return build_in_use(), load("minibatch")
