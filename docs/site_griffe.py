"""Docstrings as `make docs-site` reads them: those of estimators get their hyperparameters when they are imported."""

import re
from typing import Any

import griffe

_INSTEAD = (
    "Its parameters are [hyperparameters](hyperparameters.md), by name; [defaults](../how-to/python.md#defaults)."
)


class Hyperparameters(griffe.Extension):
    """Stand in for the list that fm_core.estimators.base writes."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Replace the mark."""
        if cls.docstring is not None:
            cls.docstring.value = re.sub(r"Parameters\n-+\n{hyperparameters}", _INSTEAD, cls.docstring.value)
