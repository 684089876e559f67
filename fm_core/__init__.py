"""Factorization machines: train a model from batches and hyperparameters, predict, explain and recommend.

Each public name is imported from its module when it is first used, so `import fm_core` itself is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fm_core import earlier_names

if TYPE_CHECKING:
    from fm_core.analysis.catalogue import Catalogue
    from fm_core.analysis.explanation import Explanation, explain
    from fm_core.analysis.ranking import rank
    from fm_core.analysis.recommendation import Recommender
    from fm_core.artifact.model_file import load_model, read_meta, save_model
    from fm_core.batch import Batch
    from fm_core.errors import ArtifactError, ConfigError, DataError, DivergenceError, FMError, ResourceError
    from fm_core.estimators import FMClassifier, FMRegressor
    from fm_core.formats import read_records, write_records
    from fm_core.formats.recordio.serializer import RecordSerializer
    from fm_core.formats.tables.schema import TableSchema
    from fm_core.hyperparameters import Hyperparameters
    from fm_core.model import Model
    from fm_core.training.evaluation import evaluate
    from fm_core.training.fit import fit

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "Batch",
    "Catalogue",
    "ConfigError",
    "DataError",
    "DivergenceError",
    "evaluate",
    "explain",
    "Explanation",
    "fit",
    "FMClassifier",
    "FMError",
    "FMRegressor",
    "Hyperparameters",
    "load_model",
    "Model",
    "rank",
    "read_meta",
    "read_records",
    "Recommender",
    "RecordSerializer",
    "ResourceError",
    "save_model",
    "TableSchema",
    "write_records",
]

_MODULES = {
    "fm_core.artifact.model_file": ("load_model", "read_meta", "save_model"),
    "fm_core.batch": ("Batch",),
    "fm_core.errors": (
        "ArtifactError", "ConfigError", "DataError", "DivergenceError", "FMError", "ResourceError",
    ),
    "fm_core.estimators": ("FMClassifier", "FMRegressor"),
    "fm_core.analysis.explanation": ("Explanation", "explain"),
    "fm_core.formats": ("read_records", "write_records"),
    "fm_core.formats.recordio.serializer": ("RecordSerializer",),
    "fm_core.formats.tables.schema": ("TableSchema",),
    "fm_core.hyperparameters": ("Hyperparameters",),
    "fm_core.model": ("Model",),
    "fm_core.analysis.catalogue": ("Catalogue",),
    "fm_core.analysis.ranking": ("rank",),
    "fm_core.analysis.recommendation": ("Recommender",),
    "fm_core.training.evaluation": ("evaluate",),
    "fm_core.training.fit": ("fit",),
}  # fmt: skip
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


earlier_names.install()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
