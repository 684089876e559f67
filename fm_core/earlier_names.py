"""Names of modules before version 1.1: importing one still works, with a warning that names the new module.

`install` adds a finder to the end of Python's list; it costs nothing until such a name is imported.
"""

import importlib
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["MOVED", "install"]

#: Earlier module: the modules that have its public names now.
MOVED = {
    "fm_core.formats.columns": ("fm_core.formats.tables",),
    "fm_core.formats.named": ("fm_core.formats.requests.named_columns",),
    "fm_core.formats.schema": ("fm_core.formats.recordio.messages",),
    "fm_core.formats.serializer": ("fm_core.formats.recordio.serializer",),
    "fm_core.on_device": ("fm_core.solvers.minibatch_torch",),
    "fm_core.solver": ("fm_core.training.fit", "fm_core.training.evaluation", "fm_core.training.callbacks"),
    "fm_core.training_record": ("fm_core.report.history",),
}


class _Earlier(ModuleType):
    """A module whose names are looked up where they are now."""

    def __getattr__(self, name: str) -> Any:
        for place in MOVED[self.__name__]:
            module = importlib.import_module(place)
            if name in getattr(module, "__all__", ()):
                warnings.warn(
                    f"{self.__name__}.{name} has moved: import it from {place}", DeprecationWarning, stacklevel=2
                )
                return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Finder:
    """Finds and loads them: see importlib.abc.MetaPathFinder and Loader."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        """Give the module's specification, if it is one of `MOVED`."""
        if name not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(name, _Finder)  # type: ignore[arg-type]  # it is a loader by its methods

    @staticmethod
    def create_module(spec: Any) -> ModuleType:
        """Make the module."""
        return _Earlier(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """There is nothing to run."""


def install() -> None:
    """Let the earlier names be imported."""
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)
