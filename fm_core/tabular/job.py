"""From files of rows to a tested model: read, hold out, train, measure, write.

Tables are read twice: once to choose the features of columns, from training rows only, and once to encode them. Encoded
rows are kept in memory, or in a file if they exceed 64 MB. Rows of feature ids are read once. So memory does not grow
with the data, except with a solver that keeps all rows; that solver is chosen only if they fit.
"""

import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fm_core.analysis.baseline import RowSample, make_baseline
from fm_core.analysis.learned import learned
from fm_core.batch import Batch
from fm_core.errors import ConfigError, DataError
from fm_core.formats.draws import draws
from fm_core.formats.registry import Format, format_of
from fm_core.formats.registry.files import InputFile, input_files, total_size
from fm_core.formats.registry.inputs import Options
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.fitting import Fitted, are_few, fit_schema
from fm_core.formats.tables.schema import TableSchema
from fm_core.formats.tables.table import Table, of_same_columns
from fm_core.hyperparameter_text import to_texts
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.report.findings import findings
from fm_core.report.history import TrainingRecord
from fm_core.resources import available_memory
from fm_core.solvers import registry
from fm_core.solvers.auto import Choice, choose, of_stream
from fm_core.tabular.columns import tell_of_columns
from fm_core.tabular.figures import Figure, Scored, figures
from fm_core.tabular.holdout import HoldOut, chooser
from fm_core.tabular.rows import KeptRows
from fm_core.tabular.saved import check_free, write_model
from fm_core.training.callbacks import Callback, Together
from fm_core.training.fit import fit
from fm_core.training.memory import memory_needed, rows_needed

__all__ = ["MOST_SCORED", "Job", "Read", "Trained", "read_rows", "save_trained", "train"]

_log = logging.getLogger(__name__)

#: Factors by default, for tables of no more columns than this; twice as many for others.
_FACTORS = 16
#: The mean of a chain's samples gets twice as many, for more columns and fewer rows than these: each pair of columns
#: takes rank. On held-out parts of training rows that gained .2 % of the rmse of California housing (8 columns) and
#: MovieLens (29), and nothing on Adult (14) or ids alone; a million rows took 7 % longer and gained nothing.
_FEW_COLUMNS, _MANY_ROWS = 3, 200_000
#: What solver minibatch gets where nothing is said, for rows of fitted columns.
_OF_MINIBATCH: dict[str, Any] = {
    "epochs": 30, "linear_lr": 0.01, "factors_lr": 0.01, "mini_batch_size": 100, "shuffle": True,
    "early_stopping_patience": 3, "validation_fraction": 0.1,
}  # fmt: skip
#: Where rows are fewer than bins would be: the deviation of scores by pairs at first, the most that a step of Adam may
#: move a score by, and the least rate that is tried anyway. What pairs of many columns say few rows cannot teach.
_OF_PAIRS, _STEP, _LEAST_RATE = 0.01, 0.5, 0.001
#: Held-out rows, and rows that were learned from, that are scored: more would not tell more, and take memory.
MOST_SCORED, _MOST_LEARNED_SCORED = 1_000_000, 100_000
#: The share of the free memory that rows may take.
_OF_FREE = 0.8
#: Columns whose features have a group of their own; beyond, the solver finds groups itself.
_MOST_GROUPS = 10_000


@dataclasses.dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes
    ----------
    holdout : HoldOut
    hyperparameters : mapping
        Those that the user gives, by name; `positive_class_weight` may be ``balanced``.
    num_threads : int
    predictor_type : {"binary_classifier", "regressor"} or None
        None: the labels decide.
    free_memory : int or None
        Bytes that may be taken; None: those that the system has.
    """

    holdout: HoldOut = dataclasses.field(default_factory=HoldOut)
    hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    num_threads: int = 1
    predictor_type: str | None = None
    free_memory: int | None = None


@dataclasses.dataclass(frozen=True)
class Read:
    """Rows that were read.

    Attributes
    ----------
    learned, held_out : KeptRows
    schema : TableSchema or None
        Of tables.
    predictor_type : str
    source : str
        The name of the data.
    """

    learned: KeptRows
    held_out: KeptRows
    schema: TableSchema | None
    predictor_type: str
    source: str = ""

    @property
    def about(self) -> str:
        """What was learned, of what, for people."""
        label = "" if self.schema is None else f"{self.schema.label} of "
        rows = f"{self.learned.n_rows:,} rows learned, {self.held_out.n_rows:,} held out"
        return f"{label}{self.source}, {rows}" if self.source else rows


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model and what is known of it.

    Attributes
    ----------
    model : Model
    hyperparameters : Hyperparameters
    read : Read
    figures : dict of Figure
        Of the rows that were held out; empty if there are none.
    figures_learned : dict of Figure
        Of those that were learned from.
    record : TrainingRecord
    n_scored : int
        The held-out rows that figures are of: all, or very many at even distances.
    """

    model: Model
    hyperparameters: Hyperparameters
    read: Read
    figures: dict[str, Figure]
    figures_learned: dict[str, Figure]
    record: TrainingRecord
    n_scored: int

    @property
    def findings(self) -> list[str]:
        """Findings, in sentences."""
        return findings(self.record, self.hyperparameters)


def read_rows(paths: Sequence[Path], format_name: str | None, options: Options, job: Job) -> Read:
    """Read files, choose what columns become, and encode them.

    Parameters
    ----------
    paths : sequence of Path
    format_name : str or None
    options : Options
        Its plan has the label of a table.
    job : Job

    Returns
    -------
    read : Read
        The rows, the schema and the held-out rows.

    Raises
    ------
    ConfigError, DataError
        Nothing can be learned of the files; the sentence says why.
    """
    of = format_of(paths[0], format_name)
    files = input_files(paths, options.scratch)
    read = _table(files, of, options, job) if of.is_table else _ids(files, of, options, job)
    source = str(paths[0])
    named = f"{paths[0].name}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}"
    read = dataclasses.replace(read, source="standard input" if named == "stdin" else named)
    if not read.learned.n_rows and read.learned.n_weightless:
        raise DataError(f"{source}: every training row has weight 0, expected some above 0")
    if not read.learned.n_rows:
        raise DataError(f"{source}: no row is left for training: hold out fewer (--holdout)")
    if len(read.learned.labels_seen) < 2:
        label = f"{next(iter(read.learned.labels_seen)):g}"
        if read.schema is not None and read.schema.label_classes:
            label = repr(read.schema.label_classes[int(float(label))])
        raise DataError(f"{source}: the label is {label} in every training row, expected different labels")
    return read


def _table(files: Sequence[InputFile], of: Format, options: Options, job: Job) -> Read:
    if options.plan.label is None and options.schema is None:
        raise ConfigError("the label column is not given: use --label")

    def tables(what: str) -> Iterator[Table]:
        with options.progress(what, total_size(files)) as bar:
            found = of.functions.read_tables(files, of, options, bar.update)
            yield from of_same_columns(found) if options.schema is None else found

    chosen = chooser(lambda: tables("Looking at times"), job.holdout)
    fitted = None
    if options.schema is None:
        plan = dataclasses.replace(options.plan, fit=True, predictor_type=job.predictor_type)
        fitted = fit_schema(tables("Looking at columns"), plan, chosen, str(files[0]))
    schema = options.schema or _schema_of(fitted)
    if schema.label is None:
        raise ConfigError("the schema has no label, expected one to learn")
    schema.to_json()  # refuses one that cannot be written, before anything is learned
    encoder = Encoder(schema, unseen=options.unseen, needs_weights=True)
    learned, held_out = KeptRows(schema.feature_dim, options.scratch), KeptRows(schema.feature_dim, options.scratch)
    n_rows = 0
    for table in tables("Encoding"):
        batch = encoder.encode(table)
        mask = None if chosen is None else chosen(table, n_rows)
        n_rows += table.n_rows
        learned.add(batch if mask is None else batch.take(np.flatnonzero(mask)))
        if mask is not None:
            held_out.add(batch.take(np.flatnonzero(~mask)))
    return Read(learned, held_out, schema, _kind_of(fitted, schema, learned, job))


def _schema_of(fitted: Fitted | None) -> TableSchema:
    assert fitted is not None
    return fitted.schema


def _kind_of(fitted: Fitted | None, schema: TableSchema, learned: KeptRows, job: Job) -> str:
    if job.predictor_type is not None:
        return job.predictor_type
    if fitted is not None and fitted.label is not None and not fitted.label.is_constant:
        return fitted.label.predictor_type
    return "binary_classifier" if schema.label_classes or learned.labels_seen <= {0.0, 1.0} else "regressor"


def _ids(files: Sequence[InputFile], of: Format, options: Options, job: Job) -> Read:
    """Read rows of feature ids."""
    if job.holdout.time_column is not None or job.holdout.group is not None:
        raise ConfigError(f"{files[0]}: {of.name} has no named columns: leave out --time-column and --group")
    if options.plan.weight is not None:
        raise ConfigError(f"{files[0]}: {of.name} has no named columns: leave out --weight")
    opened = of.functions.open_rows(files, of, dataclasses.replace(options, labels="real"))
    dim = opened.feature_dim
    learned, held_out = KeptRows(dim, options.scratch), KeptRows(dim, options.scratch)
    n_rows = 0
    for batch in opened.batches():
        mask = draws(job.holdout.seed, np.arange(n_rows, n_rows + batch.n_rows)) >= job.holdout.share
        n_rows += batch.n_rows
        learned.add(batch.take(np.flatnonzero(mask)))
        held_out.add(batch.take(np.flatnonzero(~mask)))
    seen = learned.labels_seen | held_out.labels_seen
    if job.predictor_type is not None or len(seen) != 2:
        return Read(learned, held_out, None, job.predictor_type or "regressor")
    if seen != {0.0, 1.0}:
        low, high = sorted(seen)
        _log.info("Labels are %g and %g: %g is learned as 0, %g as 1.", low, high, low, high)
        learned, held_out = learned.relabelled(low), held_out.relabelled(low)
    return Read(learned, held_out, None, "binary_classifier")


def train(read: Read, job: Job, callback: Callback | None = None) -> Trained:
    """Train a model, and measure it on the rows that were held out.

    Parameters
    ----------
    read : Read
        The table, cut into training rows and held-out rows.
    job : Job
    callback : Callback, optional
        Called during training.

    Returns
    -------
    trained : Trained

    Raises
    ------
    ConfigError
        A hyperparameter is wrong.
    DivergenceError
        Parameters are no longer finite.
    """
    hp = _hyperparameters(read, job)
    if callback is not None and (why := _why_wide(read)):
        callback.remarked(why)
    choice = _fitting(_ranked(choose(hp, next(iter(read.learned), None)), read, job), hp, read, job)
    hp = choice.hyperparameters
    if choice.why and callback is not None:
        callback.remarked(choice.why)
    record = TrainingRecord()
    record.about = read.about
    result = fit(
        lambda epoch: read.learned.batches(hp.mini_batch_size),
        hp,
        num_threads=job.num_threads,
        callback=record if callback is None else Together(record, callback),
    )
    record.learned = None if result.model.spread is None else learned(result.model.spread)
    on_learned = _scored(result.model, read.learned.spread_out(_MOST_LEARNED_SCORED), job.num_threads)
    held_out = _scored(result.model, read.held_out.spread_out(MOST_SCORED), job.num_threads)
    of_both = [
        figures(scored, is_classifier=result.model.is_classifier, mean=read.learned.mean_label) if scored.n_rows else {}
        for scored in (held_out, on_learned)
    ]
    if held_out.n_rows:
        _tell(record, held_out, read.predictor_type)
    else:
        record.not_tested("no row was held out")
    record.learned_sample.add(
        on_learned.scores.astype(np.float32), on_learned.labels.astype(np.float32), on_learned.weights
    )
    if read.schema is not None:
        tell_of_columns(record, result.model, read.schema, read.learned, read.held_out)
    return Trained(result.model, hp, read, of_both[0], of_both[1], record, held_out.n_rows)


def _ranked(choice: Choice, read: Read, job: Job) -> Choice:
    """Give the mean of a chain's samples the rank that its columns need, unless the user has set it."""
    hp, n_columns = choice.hyperparameters, 0 if read.schema is None else len(read.schema.columns)
    is_left = hp.solver == "bayes" and "num_factors" not in job.hyperparameters and not _why_wide(read)
    if not is_left or n_columns <= _FEW_COLUMNS or read.learned.n_rows > _MANY_ROWS:
        return choice
    return choice._replace(hyperparameters=dataclasses.replace(hp, num_factors=2 * hp.num_factors))


def _fitting(choice: Choice, asked: Hyperparameters, read: Read, job: Job) -> Choice:
    """Choose what needs no rows in memory, where they do not fit."""
    hp = choice.hyperparameters
    algorithm = registry.algorithm(hp, job.num_threads)
    if asked.solver != "auto" or algorithm.needs != "resident":
        return choice
    needed = rows_needed(read.learned.n_rows, read.learned.n_entries, hp, algorithm) + memory_needed(hp, algorithm)
    free = available_memory() if job.free_memory is None else job.free_memory
    if needed <= _OF_FREE * free:
        return choice
    stream = of_stream(dataclasses.replace(asked, epochs=None))
    why = f"solver {hp.solver} would take {needed >> 20} MiB of memory, and {free >> 20} MiB are free"
    return Choice(stream, f"Solver auto trains with {stream.solver}, in one pass: {why}.")


def _hyperparameters(read: Read, job: Job) -> Hyperparameters:
    given = dict(job.hyperparameters)
    if given.get("positive_class_weight") == "balanced":
        if read.predictor_type != "binary_classifier":
            raise ConfigError("--positive-class-weight is balanced, but the label is a number: leave it out")
        share = read.learned.mean_label
        given["positive_class_weight"] = (1 - share) / share
    n_columns = 0 if read.schema is None else len(read.schema.columns)
    # every pair of columns that all rows have is part of each score, and takes rank
    chosen: dict[str, Any] = {"solver": "auto", "num_factors": _FACTORS if n_columns <= _FACTORS else 2 * _FACTORS}
    if given.get("solver") == "minibatch":
        chosen |= _OF_MINIBATCH
    schema = read.schema
    if schema is not None and _why_wide(read):
        chosen |= _of_wide(len(schema.columns), schema.feature_dim)
    elif schema is not None and len(schema.columns) <= _MOST_GROUPS and given.get("solver") != "minibatch":
        chosen["feature_groups"] = schema.groups
    return Hyperparameters(feature_dim=read.learned.feature_dim, predictor_type=read.predictor_type, **(chosen | given))


def _why_wide(read: Read) -> str:
    """Say what is taken of a table that has many columns of numbers and few rows; empty of others."""
    columns = () if read.schema is None else read.schema.columns
    n_scaled = sum(column.kind == "scaled" for column in columns)
    if n_scaled <= _FACTORS or n_scaled < len(columns) / 2 or not are_few(read.learned.n_rows, n_scaled):
        return ""
    return (
        f"{read.learned.n_rows:,} rows are few for {n_scaled:,} columns of numbers, so these are scaled, not cut into "
        "bins, and their pairs share one factor: a guess (--bins, --num-factors)."
    )


def _of_wide(n_columns: int, feature_dim: int) -> dict[str, Any]:
    """Give what suits rows of very many numbers: no columns with a prior, or a rate, that are theirs alone."""
    chosen: dict[str, Any] = {
        "num_factors": 1, "feature_groups": str(feature_dim), "factors_init_sigma": math.sqrt(_OF_PAIRS / n_columns),
    }  # fmt: skip
    if _STEP / n_columns < _LEAST_RATE:  # below what is tried
        chosen |= {"linear_lr": _STEP / n_columns, "factors_lr": _STEP / n_columns}
    return chosen


def _scored(model: Model, rows: Iterable[Batch], num_threads: int) -> Scored:
    scored = Scored()
    for batch in rows:
        scored.add(model.predict(batch, num_threads), batch.known_labels, batch.weights)
    return scored


def _tell(record: TrainingRecord, scored: Scored, predictor_type: str) -> None:
    """Let the report know the held-out rows as its test rows."""
    from fm_core.metrics import metrics_for

    totals = metrics_for(predictor_type)
    scores, labels = scored.scores.astype(np.float32), scored.labels.astype(np.float32)
    totals.update(scores, labels, scored.weights)
    record.sample.add(scores, labels, scored.weights)
    record.tested(totals.values(), len(labels), 0.0)


def save_trained(path: Path, trained: Trained, *, overwrite: bool = False, report: bool = True) -> list[str]:
    """Write a model with its schema, baseline, figures and report.

    Parameters
    ----------
    path : Path
        A folder; or a file, if it ends in ``.tar.gz`` or ``.tgz``.
    trained : Trained
    overwrite : bool
        Whether to replace an existing model.
    report : bool
        Whether to write report.html.

    Returns
    -------
    names : list of str
        Of the files written.

    Raises
    ------
    ConfigError
        Something exists at the path already.
    """
    check_free(path, overwrite=overwrite)
    read, schema = trained.read, trained.read.schema
    document = trained.record.as_document(trained.findings) | {
        "rows": {"learned": read.learned.n_rows, "held_out": read.held_out.n_rows, "scored": trained.n_scored},
        "label_mean": read.learned.mean_label,
        "held_out": _plain(trained.figures),
        "learned": _plain(trained.figures_learned),
    }

    def write_report(to: Path) -> None:
        from fm_core.report.page import write_report

        write_report(to, trained.record, trained.model, trained.hyperparameters)

    learned, held_out = RowSample(), RowSample()
    for sample, rows in ((learned, read.learned), (held_out, read.held_out)):
        for batch in rows:
            sample.add(batch)
    return write_model(
        path,
        trained.model,
        to_texts(trained.hyperparameters),
        schema,
        document,
        write_report if report else None,
        make_baseline(trained.model, learned.batches(), held_out.batches(), schema),
    )


def _plain(found: Mapping[str, Figure]) -> dict[str, dict[str, float | None]] | None:
    if not found:
        return None
    return {
        name: {"model": _finite(figure.value), "baseline": _finite(figure.baseline)} for name, figure in found.items()
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
