"""Copy schema.json from the folder of the train channel to the model's folder.

`fm convert` writes it next to the records, so a job whose channel is that folder leaves
a model for which `serve` accepts named columns. A pipe has no files; then it is looked for in
the folder of the channel `items`, or has to be copied to the model by hand. A schema that does not
fit is logged, and the trained model is kept. For a solver that learns groups of features, its columns
are the groups.
"""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from container.training.job import ITEMS, Channel, TrainingJob
from fm_core.errors import ConfigError
from fm_core.formats import SCHEMA_FILE
from fm_core.hyperparameters import Hyperparameters

__all__ = ["carry_schema", "column_groups", "schema_file", "with_columns"]

_log = logging.getLogger(__name__)


def schema_file(job: TrainingJob) -> Path | None:
    """Find the job's schema: that of its training data, or else that of its items."""
    for name in ("train", ITEMS):
        channel = job.channels.get(name)
        if channel is not None and channel.mode != "Pipe" and (channel.folder / SCHEMA_FILE).is_file():
            return channel.folder / SCHEMA_FILE
    return None


def carry_schema(path: Path | None, model_folder: Path, feature_dim: int) -> None:
    """Copy a schema to the model's folder, if there is one and it is of this model.

    Parameters
    ----------
    path : Path or None
    model_folder : Path
    feature_dim : int
        Of the model.
    """
    if path is None:
        return
    from fm_core.formats.tables.schema import TableSchema  # 8 ms, of a job that has one

    try:
        schema = TableSchema.load(path)
        if schema.feature_dim != feature_dim:
            raise ConfigError(f"{path} has {schema.feature_dim} features, expected feature_dim={feature_dim}")
        schema.save(model_folder / SCHEMA_FILE)
    except (ConfigError, OSError) as error:
        _log.warning("schema.json was not copied: %s", error)
        return
    _log.info("%s was copied next to the model: the endpoint accepts named columns.", path)


def with_columns(hyperparameters: Hyperparameters, channel: Channel, path: Path | None) -> Hyperparameters:
    """Replace names of columns in `user_features` and `item_features` by the columns' features.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    channel : Channel
        That of the training data, for the message.
    path : Path or None
        Of the schema.

    Returns
    -------
    hyperparameters : Hyperparameters
        With ranges such as ``0:943`` in place of names.

    Raises
    ------
    ConfigError
        There is no schema to find them in, or it has no such column.
    """
    found: dict[str, Any] = {}
    for name in ("user_features", "item_features"):
        text = getattr(hyperparameters, name)
        if not text or ":" in text:
            continue
        if path is None:
            raise ConfigError(
                f"hyperparameter {name} is {text!r}, the name of a column, and channel {channel.name} has no "
                f"{SCHEMA_FILE} with that column: put the one that `fm convert` wrote there, or give the features, "
                "such as 0:943"
            )
        from fm_core.formats.tables.schema import TableSchema

        found[name] = TableSchema.load(path).features_of(text.split(","), f"hyperparameter {name}")
    return dataclasses.replace(hyperparameters, **found)


def column_groups(path: Path | None, feature_dim: int) -> str | None:
    """The hyperparameter `feature_groups` by the columns of a schema, if there is one and it fits."""
    if path is None:
        return None
    from fm_core.formats.tables.schema import TableSchema

    try:
        return TableSchema.load(path, feature_dim).groups or None
    except (ConfigError, OSError):  # said by `carry_schema`
        return None
