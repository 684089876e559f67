"""A job, step by step: contract -> channels -> fit -> save -> test -> report.

When a stop is requested, the job saves its model first, even the initial one, and then a checkpoint if there is time.
Any failure before the model is saved ends the job without a model. A failure afterwards (spread, schema, test channel,
last checkpoint, report) is logged, and the job succeeds with its model. So data is checked before training: the first
record of every channel that can be read twice.

With several hosts, the first one writes the model. It saves the model once it is complete, even if another host is lost
at that moment. The others cannot know that, and fail.
"""

import dataclasses
import itertools
import logging
import os
import time
from pathlib import Path

import fm_core.hyperparameters
from container.stopping import StopRequest
from container.training import hyperparameters as translation
from container.training import log_lines as lines
from container.training.baseline import TrainingBaseline
from container.training.channel_batches import ChannelBatches
from container.training.channels import ChannelReader
from container.training.checkpoints import open_checkpoints, solver_of_newest
from container.training.failure import survived
from container.training.gpus import Gpus
from container.training.hosts import Hosts, open_hosts
from container.training.items import Items
from container.training.job import ITEMS, MODEL, Paths, TrainingJob, read_job, read_object
from container.training.log import Progress, Reporter, emit
from container.training.meeting import told_to_hosts
from container.training.memory import Memory
from container.training.report import TrainingReport
from container.training.schema_copy import carry_schema, column_groups, schema_file, with_columns
from container.training.settings import TrainingSettings
from container.version import program_name
from fm_core.analysis.evaluation import Evaluation
from fm_core.artifact.limits import Limits
from fm_core.artifact.model_file import load_model
from fm_core.artifact.spread_file import SPREAD_FILE, save_spread
from fm_core.atomic_file import check_writable
from fm_core.checkpoints.state import Checkpoint
from fm_core.errors import ArtifactError, ConfigError, ResourceError, RowsDoNotFitError
from fm_core.formats.column_order import ColumnOrder
from fm_core.formats.tables import CATALOGUE_FILE
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.resources import usable_cores
from fm_core.solvers import registry
from fm_core.solvers.auto import choose, of_stream, with_early_stopping
from fm_core.training.callbacks import FitResult
from fm_core.training.fit import threads_of

__all__ = ["run", "score_test_channel", "solver_threads"]

TRAIN, TEST, VALIDATION = CHANNELS = ("train", "test", "validation")

#: Seconds after SIGTERM until which a checkpoint may still be written: the job is over after 30, and killed after 120.
LAST_CHECKPOINT_SECONDS = 25.0

#: Seconds after SIGTERM until which the model that training starts from may still be read.
LAST_MODEL_SECONDS = 60.0

_log = logging.getLogger(__name__)


def run(paths: Paths, settings: TrainingSettings, stop: StopRequest, progress: Progress) -> None:
    """Run the whole job: read, train, save, evaluate.

    Parameters
    ----------
    paths : Paths
        Of the tree that SageMaker mounts.
    settings : TrainingSettings
    stop : StopRequest
    progress : Progress
        Gets to know which step is running, for the message of a failure.

    Raises
    ------
    Exception
        The job failed before its model was saved. Later failures are logged.
    """
    _log.info(program_name())
    with told_to_hosts(paths, settings):
        job, hyperparameters, final, gpus = _read(paths, settings)
    with open_hosts(job, hyperparameters, settings, stop) as hosts:
        if hosts is not None:
            _train(job, hyperparameters, final, settings, stop, progress, gpus, hosts)


def _read(paths: Paths, settings: TrainingSettings) -> tuple[TrainingJob, Hyperparameters, dict[str, str], Gpus]:
    """Read the job's configuration, and log it."""
    provided = read_object(paths.hyperparameters)
    defaults, final = translation.default_configuration(), translation.final_configuration(provided)
    source = fm_core.hyperparameters.__file__
    emit(lines.configuration_lines(defaults, provided, final, source, paths.hyperparameters))
    hyperparameters = translation.parse(provided)
    logging.getLogger().setLevel(hyperparameters._log_level.upper())
    job = read_job(paths)
    hyperparameters = with_columns(hyperparameters, job.channels[TRAIN], schema_file(job))
    emit(lines.worker_lines(os.getpid(), job.checkpoint_folder))
    if len(job.hosts) > 1:  # else the first rows decide
        hyperparameters = _chosen(hyperparameters, job, None)
    hyperparameters = _with_groups(hyperparameters, job)
    combination = registry.combination(_at_first(hyperparameters), len(job.hosts))
    why = None if combination.solver == "minibatch" else f"Solver {combination.solver} computes on the CPU"
    gpus = Gpus(hyperparameters._num_gpus, settings.torch_devices, combination.uses_devices, why=why)
    _remark(provided, job, gpus)
    return job, hyperparameters, final, gpus


def _with_groups(hyperparameters: Hyperparameters, job: TrainingJob) -> Hyperparameters:
    """Put the columns of the train channel's schema in the place of `feature_groups` auto."""
    if hyperparameters.solver == "minibatch" or hyperparameters.feature_groups != "auto":
        return hyperparameters
    sizes = column_groups(schema_file(job), hyperparameters.feature_dim)
    if sizes is None:
        return hyperparameters
    _log.info("Features are grouped by the columns of the channel's schema.json.")
    return dataclasses.replace(hyperparameters, feature_groups=sizes)


def _at_first(hyperparameters: Hyperparameters) -> Hyperparameters:
    """What solver auto is taken for until rows have decided: what needs least."""
    is_auto = hyperparameters.solver == "auto"
    return dataclasses.replace(hyperparameters, solver="minibatch") if is_auto else hyperparameters


def _chosen(hyperparameters: Hyperparameters, job: TrainingJob, train: ChannelBatches | None) -> Hyperparameters:
    """Put a solver in the place of auto, by the newest checkpoint or the first rows, and say which, and why."""
    if hyperparameters.solver != "auto":
        has_validation = VALIDATION in job.channels
        return with_early_stopping(hyperparameters, has_validation, None) if len(job.hosts) == 1 else hyperparameters
    before = solver_of_newest(job)
    first = None if train is None or before in ("bayes", "online") else train.first_batch()
    choice = choose(
        hyperparameters, first, n_hosts=len(job.hosts), has_validation=VALIDATION in job.channels, before=before
    )
    if choice.why:
        _log.info("%s", choice.why)
    for name in choice.hyperparameters.without_effect():
        _log.info("Hyperparameter %s has no effect with solver %s", name, choice.hyperparameters.solver)
    return choice.hyperparameters


def _train(
    job: TrainingJob,
    hyperparameters: Hyperparameters,
    final: dict[str, str],
    settings: TrainingSettings,
    stop: StopRequest,
    progress: Progress,
    gpus: Gpus,
    hosts: Hosts,
) -> None:
    """Train, now that the host's role is known."""
    n_threads = solver_threads(hyperparameters, settings)

    def memory_for(hyperparameters: Hyperparameters) -> Memory:
        local = hosts.local_hyperparameters(hyperparameters)
        memory = Memory(hyperparameters, local, n_hosts=len(job.hosts), num_threads=n_threads)
        memory.check_arrays()
        return memory

    memory = memory_for(_at_first(hyperparameters))
    _check_writable(job)
    items = Items(job, hyperparameters) if hosts.is_leading else None
    baseline = TrainingBaseline() if settings.baseline and hosts.is_leading else None
    order = ColumnOrder()  # of the train channel, for others of its kind too
    channels = _open_channels(job, hyperparameters, settings, stop, progress, order, items, baseline)
    if not stop():
        for channel in channels.values():
            channel.look_at_first_record()
    hosts.check_columns(None if order.first is None else order.first[1])
    decided = _chosen(hyperparameters, job, channels[TRAIN])

    def train_with(decided: Hyperparameters, memory: Memory) -> None:
        # validation data is kept where rows are
        for name in (TRAIN, VALIDATION) if memory.keeps_rows else (TRAIN,):
            if name in channels:
                channels[name].guarded_by(memory)
        _train_with(job, decided, final, stop, progress, gpus, hosts, channels, n_threads, settings, items, baseline)

    reason = ""
    try:
        train_with(decided, memory if decided.solver == "minibatch" else memory_for(decided))
    except RowsDoNotFitError as error:
        if hyperparameters.solver != "auto":
            raise
        reason = str(error)
    if reason:
        stream = of_stream(hyperparameters)
        _log.warning("Solver auto trains with %s, from the start of the data: %s", stream.solver, reason)
        for channel in channels.values():
            channel.begin_anew()
        train_with(stream, memory_for(stream))


def _train_with(
    job: TrainingJob,
    hyperparameters: Hyperparameters,
    final: dict[str, str],
    stop: StopRequest,
    progress: Progress,
    gpus: Gpus,
    hosts: Hosts,
    channels: dict[str, ChannelBatches],
    n_threads: int,
    settings: TrainingSettings,
    items: Items | None,
    baseline: TrainingBaseline | None,
) -> None:
    """Train, now that the solver and the host's role are known."""
    paths = job.paths
    local = hosts.local_hyperparameters(hyperparameters)
    learned_from = {name: channels[name] for name in (TRAIN, VALIDATION) if name in channels}
    model_folder = job.channels[MODEL].folder if MODEL in job.channels else None
    checkpointer = open_checkpoints(job, local, learned_from, model_folder, make=hosts.checkpointer)
    found = checkpointer.latest(stop) if checkpointer else None
    resume = found if isinstance(found, Checkpoint) else None
    for channel in learned_from.values():
        channel.begin_with(resume.position.epoch if resume else 0)
    reporter = Reporter(
        host=job.current_host,
        hyperparameters=hyperparameters,
        train_folder=job.channels[TRAIN].folder,
        n_bytes=lambda: channels[TRAIN].statistics.n_bytes,
        should_stop=stop,
        progress=progress,
        n_gpus=gpus.used,
        store=hosts.store,
    )
    algorithm = registry.algorithm(hyperparameters, n_threads) if hyperparameters.loss != "pointwise" else None
    report = TrainingReport.wanted(paths.output_data, settings.report) if len(job.hosts) == 1 else None
    try:
        if isinstance(found, Model):
            result = FitResult(found, {}, 0, stopped=True)
        else:
            result = hosts.fit(
                channels[TRAIN],
                hyperparameters,
                num_threads=n_threads,
                model=None if model_folder is None or resume else _starting_model(model_folder, stop),
                validation=channels.get(VALIDATION),
                callback=reporter if report is None else report.beside(reporter),
                should_stop=stop,
                resume=resume,
                checkpointer=checkpointer,
                device=gpus.open,
                **({} if algorithm is None else {"algorithm": algorithm}),
            )
        if stop() and not reporter.has_started:
            _log.warning("Stop requested (%s) before the first batch: saving the initial model.", stop.signal_name)
        else:
            reporter.finished()
            if stop():
                of_all = "" if hyperparameters.n_epochs is None else f"of {hyperparameters.n_epochs} "
                _log.warning("Stop requested (%s): %d %sepochs are done.", stop.signal_name, result.epochs_done, of_all)
        _save(paths.model_file(job.current_host), result.model, translation.of_model(final), reporter, hosts)
        # The model is saved: from here on nothing that fails is worth losing it.
        if hosts.is_leading:
            if stop.seconds() < LAST_CHECKPOINT_SECONDS:
                with survived(f"{SPREAD_FILE} was not written"):
                    _save_spread(paths.model, result.model)
            with survived("schema.json was not copied"):
                carry_schema(schema_file(job), paths.model, hyperparameters.feature_dim)
        if items is not None:
            with survived(f"{CATALOGUE_FILE} was not written"):
                items.write(paths.model)
        if baseline is not None:
            with survived("baseline.json was not written"):
                model_file = paths.model_file(job.current_host)
                baseline.write(result.model, model_file, schema_file(job), hyperparameters.feature_dim)
        if TEST in channels:
            with survived("The test channel was not scored", report.not_tested if report else _untold), hosts.told():
                evaluation = None if algorithm is None else algorithm.evaluation(hyperparameters, result.model)
                score_test_channel(
                    result.model, channels[TEST], job, reporter, stop, n_threads, hosts, report, hyperparameters,
                    evaluation,
                )  # fmt: skip
        else:
            emit([lines.no_test_line()])
    finally:
        if checkpointer:
            with survived("The last checkpoint was not written"):
                checkpointer.close(lambda: stop.seconds() > LAST_CHECKPOINT_SECONDS)
    if report is not None and reporter.has_started:
        with survived("No report was written"):
            if baseline is not None:
                report.learned_from(result.model, baseline.learned_from())
            report.write(result.model, hyperparameters, paths.model_file(job.current_host))
    reporter.ended()


def _save(model_file: Path, model: Model, settings: dict[str, str], reporter: Reporter, hosts: Hosts) -> None:
    """Write the artifact, whole or not at all; once it is there, no other host's end is worth losing it."""
    started = time.time()
    model_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        hosts.save(model_file, model, settings)
    except BaseException:
        model_file.unlink(missing_ok=True)  # one of an earlier job, which is not this job's
        raise
    if not hosts.is_leading:
        hosts.wait_for_all()  # a host that leaves the model to the first one has to hear that it was written
        return
    reporter.saved(model_file, started)
    with survived("The model is saved, but not all hosts could be told"):
        hosts.wait_for_all()


def _save_spread(folder: Path, model: Model) -> None:
    """Write what the standard deviation of scores needs, where the solver knows it."""
    if save_spread(folder, model) is not None:
        _log.info(
            "%s was written next to the model: requests can ask for the uncertainty of a score (spread).",
            folder / SPREAD_FILE,
        )
    elif model.spread is not None:
        _log.warning("%s was not written: with so many features it would be too large", folder / SPREAD_FILE)


def _untold(sentence: str) -> None:
    pass


def _check_writable(job: TrainingJob) -> None:
    """Refuse a model folder that cannot be written to before training, and not after it."""
    probe = job.paths.model_file(job.current_host).with_name(f".writable-{job.current_host}")
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        check_writable(probe)
    except OSError as error:
        raise ArtifactError(
            f"the model folder {probe.parent} cannot be written to: {error.strerror or error}; nothing was trained"
        ) from error


def _starting_model(folder: Path, stop: StopRequest) -> Model:
    # When a stop is requested, the job still has to leave this model, if it can be had before the job is killed.
    limits = Limits(should_stop=lambda: stop.seconds() > LAST_MODEL_SECONDS)
    try:
        model = load_model(folder, limits)
    except (ArtifactError, ResourceError) as error:  # the user's choice, and not something of ours
        raise ConfigError(f"channel {MODEL}: {error}") from error
    _log.info(
        "Training starts from the model in %s: feature_dim=%d, num_factors=%d.",
        folder, model.feature_dim, model.num_factors,
    )  # fmt: skip
    return model


def _remark(provided: dict[str, object], job: TrainingJob, gpus: Gpus) -> None:
    """Log which settings are ignored, and refuse those that must not be."""
    for remark in translation.remarks(provided):
        _log.info(remark)
    gpus.remark()
    for name in sorted(job.channels.keys() - {*CHANNELS, MODEL, ITEMS}):
        _log.warning("Channel %s is not used, only %s are.", name, ", ".join((*CHANNELS, MODEL, ITEMS)))
    emit(lines.pipe_line(channel.name, channel.folder) for channel in job.channels.values() if channel.mode == "Pipe")


def _open_channels(
    job: TrainingJob,
    hyperparameters: Hyperparameters,
    settings: TrainingSettings,
    stop: StopRequest,
    progress: Progress,
    order: ColumnOrder,
    items: Items | None = None,
    baseline: TrainingBaseline | None = None,
) -> dict[str, ChannelBatches]:
    opened = {}
    for name in CHANNELS:
        if name in job.channels:
            channel = job.channels[name]
            is_alike = channel.content_type == job.channels[TRAIN].content_type
            reader = ChannelReader(
                channel,
                stop=stop,
                wait_seconds=settings.pipe_wait_seconds,
                n_hosts=len(job.hosts),
                order=order if name == TRAIN else ColumnOrder(order if is_alike else None),
            )
            watched = progress if name == TRAIN else None
            observers = [items.observer] if name == TRAIN and items and items.observer else []
            if baseline is not None and name in (TRAIN, VALIDATION):
                observers.append(baseline.observer(name))
            opened[name] = ChannelBatches(
                reader, hyperparameters, watched, is_learned=name == TRAIN, observers=observers
            )
    return opened


def solver_threads(hyperparameters: Hyperparameters, settings: TrainingSettings) -> int:
    """Count the threads to learn with: those asked for, or of the usable cores what is best, within OMP_NUM_THREADS."""
    if isinstance(hyperparameters.num_threads, int):
        return hyperparameters.num_threads
    threads = threads_of(usable_cores())
    return threads if settings.omp_num_threads is None else min(threads, settings.omp_num_threads)


def score_test_channel(
    model: Model,
    channel: ChannelBatches,
    job: TrainingJob,
    reporter: Reporter,
    stop: StopRequest,
    num_threads: int,
    hosts: Hosts,
    report: TrainingReport | None = None,
    hyperparameters: Hyperparameters | None = None,
    evaluation: Evaluation | None = None,
) -> None:
    """Score the test channel with the saved model, unless the job has to stop.

    Parameters
    ----------
    model : Model
    channel : ChannelBatches
        Of the test channel.
    job : TrainingJob
    reporter : Reporter
        Prints the metrics.
    stop : StopRequest
    num_threads : int
    hosts : Hosts
    report : TrainingReport, optional
        Gets the metrics and a sample of the scores.
    hyperparameters : Hyperparameters, optional
        Of the model, for the metrics of a ranking.
    evaluation : Evaluation, optional
        What is measured; by default the metrics of each row.
    """
    watched = model if report is None else report.watched(model)
    batches = itertools.takewhile(lambda _: not stop(), channel(0))
    metrics, n_records = hosts.evaluate(watched, batches, num_threads, hyperparameters, evaluation)
    if stop():
        _log.warning("Stop requested (%s): the test channel is not scored.", stop.signal_name)
        if report is not None:
            report.not_tested(f"the job was asked to stop ({stop.signal_name})")
    else:
        reporter.tested(job.channels[TEST].folder, metrics, n_records, channel.statistics)
        if report is not None:
            report.tested(metrics, n_records, channel.statistics.seconds)
