"""Tables with columns: the schema that converts them to features, its creation, and readers of tables.

Each public name is imported from its module when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fm_core.formats.tables.encoder import Encoder
    from fm_core.formats.tables.fitting import fit_schema
    from fm_core.formats.tables.frames import encode_table, frame_table
    from fm_core.formats.tables.learner import TablePlan, make_schema
    from fm_core.formats.tables.schema import Column, TableSchema

__all__ = [
    "CATALOGUE_FILE",
    "SCHEMA_FILE",
    "Column",
    "Encoder",
    "encode_table",
    "fit_schema",
    "frame_table",
    "make_schema",
    "TablePlan",
    "TableSchema",
]

#: Name under which the schema of a table lies beside its records, and beside the model of them.
SCHEMA_FILE = "schema.json"

#: Name under which the items that can be recommended lie beside a model.
CATALOGUE_FILE = "catalogue.csv"

_HOMES = {
    "Column": "schema",
    "Encoder": "encoder",
    "TablePlan": "learner",
    "TableSchema": "schema",
    "encode_table": "frames",
    "fit_schema": "fitting",
    "frame_table": "frames",
    "make_schema": "learner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
