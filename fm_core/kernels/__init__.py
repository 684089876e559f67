"""Which builds of the kernels this machine can run, and the one in use.

`available` maps names to builds, fastest first: ``avx512`` and ``avx2`` on x86-64
processors that have them, ``generic`` everywhere. The first is used; the environment
variable FM_CORE_KERNELS names another. Each build is a module with the functions of
`interface.Kernels`; `reference` has them in plain NumPy, for tests.
"""

import functools
import importlib
import importlib.util
import os
from pathlib import Path

# Read by libgomp when it is loaded, which _draw does: these lines stay above its import. A thread that waits looks
# 20,000 times, some 300 us, before it sleeps: that bridges the gap between two batches, and waking a thread of a
# virtual machine takes as long as some hundred rows. Endless spinning, libgomp's default, takes the cores from whoever
# else needs them: beside one busy process a step of two threads took 4.5 times as long, and 1.2 times so.
# docs/performance.md has the figures.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from fm_core.errors import ConfigError
from fm_core.kernels._draw import draw
from fm_core.kernels._group import group, ungrouped
from fm_core.kernels.interface import OPTIMIZERS, PADDING, TILE, Kernels, Optimizer, Step

__all__ = [
    "OPTIMIZERS",
    "PADDING",
    "TILE",
    "Kernels",
    "Optimizer",
    "Step",
    "available",
    "draw",
    "group",
    "in_use",
    "ungrouped",
]

#: Build: the processor features (names of /proc/cpuinfo) that it needs, fastest build first.
_NEEDS = {
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"},
    "avx2": {"avx2", "fma"},
    "generic": set(),
}


@functools.cache
def available() -> dict[str, Kernels]:
    """The builds that this processor can run, by name, fastest first."""
    features = _processor_features()
    return {
        name: importlib.import_module(f"fm_core.kernels._{name}")
        for name, needs in _NEEDS.items()
        if needs <= features and importlib.util.find_spec(f"fm_core.kernels._{name}")
    }


@functools.cache
def in_use() -> tuple[str, Kernels]:
    """Name and module of the build in use.

    Raises
    ------
    ConfigError
        FM_CORE_KERNELS names a build that does not exist or does not run here.
    """
    forced = os.environ.get("FM_CORE_KERNELS")
    if not forced:
        return next(iter(available().items()))
    if forced not in available():
        raise ConfigError(
            f"FM_CORE_KERNELS is {forced!r}, expected one of those this machine runs: {', '.join(available())}"
        )
    return forced, available()[forced]


def _processor_features() -> set[str]:
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith("flags"):
                    return set(line.partition(":")[2].split())
    except OSError:
        pass
    return set()
