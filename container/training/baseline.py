"""Write baseline.json next to the model: the distributions of scores and columns in training.

Some rows of the first pass are kept, because a pipe cannot be read again, and scored with the saved model. The endpoint
compares requests with them. With several hosts, the rows are those of the first one.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fm_core.artifact.model_file import load_model
from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.model import Model

if TYPE_CHECKING:
    from fm_core.analysis.baseline import RowSample

__all__ = ["TrainingBaseline"]

_log = logging.getLogger(__name__)


class TrainingBaseline:
    """Keeps rows of the train and validation channel, and writes down what they are like."""

    def __init__(self) -> None:
        self._samples: dict[str, RowSample] = {}
        self._complete: set[str] = set()

    def observer(self, channel: str) -> Callable[[Batch | None], None]:
        """Give what is called with each batch of a pass over a channel, and with None at its end."""
        from fm_core.analysis.baseline import RowSample

        sample = self._samples[channel] = RowSample()

        def observe(batch: Batch | None) -> None:
            if batch is None:
                self._complete.add(channel)
            elif channel not in self._complete:
                sample.add(batch)

        return observe

    def learned_from(self) -> Sequence[Batch]:
        """Give some of the rows of the train channel."""
        return self._samples["train"].batches() if "train" in self._samples else ()

    def write(self, model: Model, model_file: Path, schema_file: Path | None, feature_dim: int) -> None:
        """Write baseline.json next to a saved model, if there was a row.

        Parameters
        ----------
        model : Model
            Perhaps only this host's rows of it: then the file is read.
        model_file : Path
        schema_file : Path or None
        feature_dim : int
            Of the whole model.
        """
        from fm_core.analysis.baseline import BASELINE_FILE, make_baseline

        schema = None
        if schema_file is not None:
            from fm_core.formats.tables.schema import TableSchema

            try:
                schema = TableSchema.load(schema_file, feature_dim)
            except ConfigError:  # said by `carry_schema`
                schema = None
        train, validation = (
            self._samples[name].batches() if name in self._samples else () for name in ("train", "validation")
        )
        whole = model if model.feature_dim == feature_dim else load_model(model_file)
        baseline = make_baseline(whole, train, validation, schema)
        if baseline is not None:
            baseline.save(model_file.with_name(BASELINE_FILE))
            _log.debug("Wrote %s", BASELINE_FILE)  # the log is the built-in's, line by line
