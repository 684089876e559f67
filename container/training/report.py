"""The report of a job: output/data/report.html, and metrics.json next to it.

They are written unless the job turns them off. A report that cannot be written is logged, and does not fail the job.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.training.callbacks import Callback

__all__ = ["TrainingReport"]

_log = logging.getLogger(__name__)


class TrainingReport:
    """Collects the figures of a running job, and writes the report.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        from fm_core.report.history import TrainingRecord  # not needed to train

        self._folder = folder
        self._record = TrainingRecord()

    @classmethod
    def wanted(cls, folder: Path, asked: bool | None) -> "TrainingReport | None":
        """Return one, unless the job turns the report off."""
        return None if asked is False else cls(folder)

    def beside(self, callback: Callback) -> Callback:
        """Return a callback that calls `callback`, and collects figures."""
        from fm_core.training.callbacks import Together

        return Together(callback, self._record)

    def watched(self, model: Model) -> Model:
        """Give the model, such that a sample of its scores is noted."""
        from fm_core.report.history import SampledModel

        return SampledModel(model, self._record.sample)

    def learned_from(self, model: Model, rows: Sequence[Batch]) -> None:
        """Note how some of the rows are scored that were learned from."""
        for batch in rows:
            self._record.learned_sample.add(model.predict(batch), batch.known_labels, batch.weights)

    def tested(self, metrics: Mapping[str, float], n_records: int, seconds: float) -> None:
        """Note the metrics of the test channel."""
        self._record.tested(metrics, n_records, seconds)

    def not_tested(self, reason: str) -> None:
        """Note why there are no metrics of the test channel."""
        self._record.not_tested(reason)

    def write(self, model: Model, hyperparameters: Hyperparameters, model_file: Path) -> None:
        """Write both files; they name the program, and the model in `model_file`."""
        from container.version import program_name
        from fm_core.analysis.learned import learned
        from fm_core.artifact.model_file import identity
        from fm_core.report.findings import findings
        from fm_core.report.page import write_report

        self._record.made_by = f"{program_name()}, model {identity(model_file)}"
        self._record.learned = None if model.spread is None else learned(model.spread)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._record.save(self._folder / "metrics.json", findings(self._record, hyperparameters))
            write_report(self._folder / "report.html", self._record, model, hyperparameters)
        except OSError as error:
            _log.warning("No report was written: %s", error)
            return
        _log.debug("Wrote a report to %s", self._folder / "report.html")  # the log is the built-in's, line by line
