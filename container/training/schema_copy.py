"""schema.json goes along: what lies in the folder of the train channel comes to lie beside the model.

`fm convert` writes it beside the records, so that a job whose channel is that folder leaves
a model that `serve` can send named columns to. A pipe has no files, so there it has to be
put beside the model by hand. A schema that does not fit is said, and is no reason to lose
a model that is trained. Its columns are groups of features, to a solver that learns of groups.
"""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from container.training.job import Channel
from fm_core.errors import ConfigError
from fm_core.formats import SCHEMA_FILE
from fm_core.hyperparameters import Hyperparameters

__all__ = ["carry_schema", "column_groups", "with_columns"]

_log = logging.getLogger(__name__)


def carry_schema(channel: Channel, model_folder: Path, feature_dim: int) -> None:
    """Copy the schema of a channel to the model's folder, if there is one and it is of this model.

    Parameters
    ----------
    channel : Channel
    model_folder : Path
    feature_dim : int
        Of the model.
    """
    path = channel.folder / SCHEMA_FILE
    if channel.mode == "Pipe" or not path.is_file():
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


def with_columns(hyperparameters: Hyperparameters, channel: Channel) -> Hyperparameters:
    """Put the features of columns in the place of their names, where users and items are said by names.

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
        path = channel.folder / SCHEMA_FILE
        if channel.mode == "Pipe" or not path.is_file():
            raise ConfigError(
                f"hyperparameter {name} is {text!r}, the name of a column, and channel {channel.name} has no "
                f"{SCHEMA_FILE} that knows it: put the one that `fm convert` wrote there, or say the features, such as "
                "0:943"
            )
        from fm_core.formats.tables.schema import TableSchema

        found[name] = TableSchema.load(path).features_of(text.split(","), f"hyperparameter {name}")
    return dataclasses.replace(hyperparameters, **found)


def column_groups(channel: Channel, feature_dim: int) -> str | None:
    """The hyperparameter `feature_groups` by the columns of a channel's schema, if there is one and it fits.

    Columns of one feature that follow each other are one group: each alone would be little to learn a size from.
    """
    path = channel.folder / SCHEMA_FILE
    if channel.mode == "Pipe" or not path.is_file():
        return None
    from fm_core.formats.tables.schema import TableSchema

    try:
        schema = TableSchema.load(path, feature_dim)
    except (ConfigError, OSError):  # said by `carry_schema`
        return None
    sizes: list[int] = []
    is_single = False
    for column in schema.columns:
        if column.n_features == 1 and is_single:
            sizes[-1] += 1
        elif column.n_features:
            sizes.append(column.n_features)
            is_single = column.n_features == 1
    return ",".join(map(str, sizes)) or None
