"""fit: train a model from batches and hyperparameters, on one host."""

import functools
import itertools
import logging
from collections.abc import Callable, Iterable
from typing import Any

from fm_core.batch import Batch
from fm_core.checkpoints.state import Checkpoint
from fm_core.checkpoints.writer import Checkpoints
from fm_core.given import check_kind, check_threads
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.printable import quoted
from fm_core.solvers import registry
from fm_core.solvers.auto import choose, with_early_stopping
from fm_core.solvers.base import Algorithm
from fm_core.solvers.minibatch import Device
from fm_core.training.callbacks import Batches, Callback, FitResult, Logged, once_more
from fm_core.training.class_weights import class_weighted
from fm_core.training.early_stopping import check_validation
from fm_core.training.held_out import HeldOut
from fm_core.training.loop import Loop
from fm_core.training.one_host import OneHost

__all__ = ["Peeked", "fit", "threads_of"]

_log = logging.getLogger(__name__)


def threads_of(n_cores: int) -> int:
    """Return the number of threads with which `fit` is fastest if batches are decoded while it trains.

    One core is the reading thread's, if there are several (docs/explanation/performance.md). From batches in memory
    `fit` learns fastest with every core.

    Parameters
    ----------
    n_cores : int
        Usable cores.

    Returns
    -------
    n_threads : int
        At least 1.
    """
    return max(1, n_cores - 1)


def fit(
    batches: Batches,
    hyperparameters: Hyperparameters,
    *,
    num_threads: int = 1,
    model: Model | None = None,
    validation: Batches | None = None,
    callback: Callback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    resume: Checkpoint | None = None,
    checkpointer: Checkpoints | None = None,
    device: Callable[[], Device | None] | None = None,
    algorithm: Algorithm | None = None,
) -> FitResult:
    """Train a model.

    Parameters
    ----------
    batches : callable
        ``batches(epoch)`` gives the epoch's batches, each of mini_batch_size rows but the
        last, all dense or all sparse. Called once an epoch, from another thread; once in all by a solver that
        keeps all rows in memory. A loss other than pointwise, and standardize, need a pass before the first epoch:
        ``batches.once_more(epoch)``, where there is such an attribute, else ``batches(epoch)`` once more.
    hyperparameters : Hyperparameters
        With solver auto, the first batch decides (fm_core/solvers/auto.py); a checkpoint is of one solver.
    num_threads : int
        Threads of the kernels; the model does not depend on it, bit for bit.
    model : Model, optional
        The model to start from; additional features are initialised by the hyperparameters.
    validation : callable, optional
        As `batches`; scored after every epoch.
    callback : Callback, optional
    should_stop : callable
        Polled; once true, `fit` returns with the model as it is.
    resume : Checkpoint, optional
        The checkpoint to resume from; the model will be, bit for bit, that of an uninterrupted training.
        Its epoch is read from the start, and batches that were done are left out.
    checkpointer : Checkpointer, optional
        Gets the state at every safe point. Its `close` is the caller's to call, also after an
        exception.
    device : callable, optional
        Called once, and only if the data is dense, perhaps from another thread: returns the device that
        trains on dense batches, or None for the CPU.
    algorithm : Algorithm, optional
        By default the one of the hyperparameters, with `num_threads` and `device`.

    Returns
    -------
    result : FitResult

    Raises
    ------
    ConfigError
        early_stopping_patience without validation data.
    DataError
        The training data is empty, or a batch is not as declared.
    DivergenceError
        Parameters are no longer finite; the message names the epoch and batch.

    Examples
    --------
    >>> from fm_core import Batch, Hyperparameters, fit
    >>> batch = Batch.from_dense([[1, 0, 1], [0, 1, 1]], labels=[1, 0])
    >>> hyperparameters = Hyperparameters(feature_dim=3, num_factors=2, predictor_type="binary_classifier", epochs=5)
    >>> result = fit(lambda epoch: [batch], hyperparameters)
    >>> result.model.predict(batch).shape
    (2,)
    """
    check_kind("hyperparameters", hyperparameters, Hyperparameters, "Hyperparameters")
    check_threads(num_threads)
    for name, given in (("batches", batches), ("validation", validation)):
        if given is not None and not callable(given):
            raise TypeError(f"{name} is {quoted(given)}, expected a function that gives an epoch's batches")
    if model is not None:
        check_kind("model", model, Model, "a Model")
    batches = class_weighted(batches, hyperparameters)
    validation = None if validation is None else class_weighted(validation, hyperparameters)
    if algorithm is None:
        hyperparameters = with_early_stopping(hyperparameters, validation is not None, None)
    if hyperparameters.solver == "auto" and algorithm is None:
        batches = Peeked(batches, 0 if resume is None else resume.position.epoch)
        choice = choose(hyperparameters, batches.first(), has_validation=validation is not None)
        hyperparameters = choice.hyperparameters
        _log.info("%s", choice.why)
    check_validation(hyperparameters, validation)
    fraction, held_out = hyperparameters.validation_fraction, None
    if validation is None and fraction and hyperparameters.solver == "minibatch":
        held_out = HeldOut(batches, fraction, hyperparameters.seed, hyperparameters.mini_batch_size)
        batches, validation = held_out, held_out.held
    made = algorithm or registry.algorithm(hyperparameters, num_threads, device)
    host = OneHost(made, hyperparameters, should_stop)
    told = callback or Logged()
    if held_out is not None and hyperparameters.standardize:  # by name, mini-batches give what they have learned
        kept = functools.partial(held_out.kept, num_threads=num_threads)
        loop = Loop(hyperparameters, host, told, model, checkpointer, kept)
    else:
        loop = Loop(hyperparameters, host, told, model, checkpointer)
    del model  # it may be large, and is not needed once training has started
    result = loop.run(batches, validation, resume)
    if held_out is not None and held_out.share < 1:
        what = f"{held_out.share:.0%} of what it learned is kept" if held_out.share else "the model is that constant"
        told.remarked(f"On the rows that were held out, the model is not surely better than a constant: {what}.")
    return result


class Peeked:
    """Batches whose first one can be read before training starts.

    Parameters
    ----------
    batches : Batches
    epoch : int
        The one that is asked for first.
    """

    def __init__(self, batches: Batches, epoch: int) -> None:
        self._batches = batches
        self._epoch = epoch
        self._begun: Iterable[Batch] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def first(self) -> Batch | None:
        """Begin the first pass, and give its first batch, if it has one."""
        passed = iter(self._batches(self._epoch))
        found = next(passed, None)
        self._begun = itertools.chain([] if found is None else [found], passed)
        return found

    def __call__(self, epoch: int) -> Iterable[Batch]:
        """The batches of a pass: the one that was begun, if it is that."""
        begun, self._begun = self._begun, None
        return self._batches(epoch) if begun is None or epoch != self._epoch else begun

    def once_more(self, epoch: int) -> Iterable[Batch]:
        """Return the batches of an epoch in a pass before it: the pass that was begun, if it is the first.

        Parameters
        ----------
        epoch : int
            From 0.

        Returns
        -------
        batches : iterable of Batch
        """
        begun, self._begun = self._begun, None
        return once_more(self._batches, epoch) if begun is None else begun
