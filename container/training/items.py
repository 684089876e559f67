"""Write catalogue.csv next to the model: the items that the endpoint can recommend.

They come from the channel `items`, a table with a row for each item, or, if `item_features` names the features of an
item, from the training records. The table is read before training, so that an invalid one costs no training. A later
failure is logged, and the trained model is kept.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from container.training.channels import data_files
from container.training.job import ITEMS, Channel, TrainingJob
from container.training.schema_copy import schema_file
from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.feature_ranges import feature_ranges
from fm_core.formats.registry import FORMATS, format_of
from fm_core.formats.tables import CATALOGUE_FILE
from fm_core.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from fm_core.analysis.catalogue import Catalogue
    from fm_core.analysis.items_seen import ItemsSeen
    from fm_core.formats.tables.table import Table

__all__ = ["Items"]

_log = logging.getLogger(__name__)


class Items:
    """The items of a job, from before training until the catalogue is written.

    Parameters
    ----------
    job : TrainingJob
    hyperparameters : Hyperparameters

    Raises
    ------
    ConfigError
        The channel holds no table, or cannot be read twice.
    DataError
        It holds no items, or not as the schema expects.
    """

    def __init__(self, job: TrainingJob, hyperparameters: Hyperparameters) -> None:
        self._channel = job.channels.get(ITEMS)
        self._schema_file = schema_file(job)
        self._feature_dim = hyperparameters.feature_dim
        self._seen: ItemsSeen | None = None
        self._is_complete = False
        if self._channel is not None:
            self._of_channel(self._channel)
        elif hyperparameters.item_features and len(job.hosts) == 1:
            parts = feature_ranges("item_features", hyperparameters.item_features, hyperparameters.feature_dim)
            self._seen = _items_seen(parts, hyperparameters.feature_dim)

    @property
    def observer(self) -> Callable[[Batch | None], None] | None:
        """Called with each batch of a pass over the training data, and with None at its end."""
        return None if self._seen is None else self._observe

    def _observe(self, batch: Batch | None) -> None:
        if self._seen is None or self._is_complete:
            return
        if batch is None:
            self._is_complete = True
        elif batch.indptr is not None:
            self._seen.update(batch)

    def write(self, model_folder: Path) -> None:
        """Write the catalogue, if there are items.

        Raises
        ------
        FMError
            There is none; the message says why.
        """
        if self._channel is not None:
            catalogue = self._of_channel(self._channel)
        elif self._seen is not None and self._is_complete:
            catalogue = self._of_records(self._seen)
        else:
            return
        path = model_folder / CATALOGUE_FILE
        catalogue.save(path)
        _log.info("%s has %d items: the endpoint can recommend them.", path, len(catalogue))

    def _of_records(self, seen: "ItemsSeen") -> "Catalogue":
        from fm_core.formats.tables.schema import TableSchema

        schema = None if self._schema_file is None else TableSchema.load(self._schema_file, self._feature_dim)
        return self._catalogue([seen.table(schema)], "the training data")

    def _of_channel(self, channel: Channel) -> "Catalogue":
        if channel.mode == "Pipe":
            raise ConfigError(
                f"channel {channel.name}: TrainingInputMode is Pipe, expected File or FastFile: it is read twice"
            )
        if not channel.folder.is_dir():
            raise ConfigError(f"channel {channel.name}: there is no folder {channel.folder}")
        files, _ = data_files(channel.folder)
        if not files:
            raise ConfigError(f"channel {channel.name}: no file below {channel.folder} holds a table of items")
        of = format_of(files[0], None if files[0].suffix else _by_content_type(channel))
        from fm_core.formats.registry.inputs import Options, read_tables

        options = Options(header=True) if of.name in ("csv", "tsv") else Options()
        return self._catalogue(read_tables(files, of, options), f"channel {channel.name}")

    def _catalogue(self, tables: "Iterable[Table]", what: str) -> "Catalogue":
        from fm_core.analysis.catalogue import Catalogue
        from fm_core.formats.tables.encoder import Encoder
        from fm_core.formats.tables.schema import TableSchema

        encoder = None
        if self._schema_file is not None:
            schema = TableSchema.load(self._schema_file, self._feature_dim)
            encoder = Encoder(schema, labels="none", way_out="fm catalogue --unseen ignore")
        return Catalogue.read(tables, encoder, self._feature_dim, what=what)


def _by_content_type(channel: Channel) -> str:
    return next(name for name, of in FORMATS.items() if channel.content_type in of.media_types)


def _items_seen(parts: list[range], feature_dim: int) -> "ItemsSeen":
    from fm_core.analysis.items_seen import ItemsSeen  # with all that tables need, of a job that has items

    return ItemsSeen(parts, feature_dim)
