"""schema.json goes along: what lies in the folder of the train channel comes to lie beside the model.

`fm convert` writes it beside the records, so that a job whose channel is that folder leaves
a model that `serve` can send named columns to. A pipe has no files, so there it has to be
put beside the model by hand. A schema that does not fit is said, and is no reason to lose
a model that is trained.
"""

import logging
from pathlib import Path

from container.training.job import Channel
from fm_core.errors import ConfigError
from fm_core.formats import SCHEMA_FILE

__all__ = ["carry_schema"]

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
