"""The interface between a training and its solver; devices and hosts are chosen independently of it.

Two things stand for a solver. An `Algorithm` is known before any row is read: what the solver needs of the data, how
much memory, which arrays a checkpoint has of it; it does, in the reading thread, what can be done of a batch ahead of
its turn, and makes the solver once the first rows have said of what kind they are. A `Solver` then has the parameters
and learns: its `epoch` is a generator that yields a `SafePoint` wherever training may be stopped, reported or kept.

The loop (fm_core/training/loop.py) consumes safe points and knows no mathematics. Solvers know no files, no clock, no
callbacks and no other hosts; registry.py says which of them goes with which devices and hosts.

Both are protocols. A class that names one as its base gets the defaults of what it leaves out.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fm_core.analysis.evaluation import Evaluation, RowEvaluation
from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model

if TYPE_CHECKING:
    from fm_core.spread import Spread

__all__ = ["Algorithm", "ArraySpec", "Learner", "Moment", "SafePoint", "Solver", "SolverState"]


class Moment(NamedTuple):
    """Where a training is, between two steps.

    Attributes
    ----------
    epoch : int
        The epoch that is under way, counted from 0.
    n_batches : int
        How many of its steps are done.
    """

    epoch: int
    n_batches: int


class SafePoint(NamedTuple):
    """A moment between two steps: training may stop here, report, write a checkpoint, and resume from it.

    Attributes
    ----------
    scores, labels : ndarray of float32, shape (n,), or None
        What the step has scored before it learned from it: they are added to the epoch's metrics. Valid until the
        next step. A solver whose metrics are those of a model so far yields them once, at the end of its epoch.
    batch : Batch or None
        The rows of a mini-batch step: a checkpoint remembers a checksum, by which other data is recognised.
    changed : ndarray of int32, shape (m,), or None
        Which rows of the arrays by feature the step has changed, in rising order; None: any. It need not be told;
        told, it makes checkpoints cheap.
    is_resumable : bool
        Whether the arrays are such that an epoch can go on from here. Where it is false, no checkpoint is written,
        also if training stops here: the one before it stays.
    checkpoint : bool or None
        Whether a checkpoint has to be written here, where hosts have agreed on it; None: if one is due.
    remark : str or None
        What the step has decided, in words for whoever follows the training.
    weights : ndarray of float32, shape (n,), or None
        Of these rows in the metrics.
    """

    scores: NDArray[np.float32] | None = None
    labels: NDArray[np.float32] | None = None
    batch: Batch | None = None
    changed: NDArray[np.int32] | None = None
    is_resumable: bool = True
    checkpoint: bool | None = None
    remark: str | None = None
    weights: NDArray[np.float32] | None = None


class SolverState(NamedTuple):
    """All that a solver needs to resume, as read from a checkpoint.

    Attributes
    ----------
    n_steps : int
    arrays : mapping of str to ndarray
        As `Solver.arrays` gave them; they become the solver's.
    """

    n_steps: int
    arrays: Mapping[str, NDArray[Any]]


class ArraySpec(NamedTuple):
    """One array of a solver, as a checkpoint has it.

    Attributes
    ----------
    shape : tuple of int or None
        None: any length, which the file then says.
    dtype : str
        NumPy's name, little endian.
    of_model : bool
        Whether the model is made of it. Such an array is read also where a job has no time to go on.
    by_feature : bool
        Whether it has a row for each feature, which `SafePoint.changed` speaks of. Float32, two-dimensional.
    is_lazy : bool
        Whether a row that no step has changed is zero, so that a checkpoint can leave it out.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    of_model: bool = True
    by_feature: bool = False
    is_lazy: bool = False


class Learner(Protocol):
    """The parameters, and how they are learned: what the loop asks for."""

    @property
    def n_steps(self) -> int:
        """Steps so far, over all epochs: checkpoints are numbered by it, so that it only grows."""

    @property
    def is_done(self) -> bool:
        """Whether further epochs are not worth their time: asked at the end of each."""
        return False

    @property
    def most_epochs(self) -> int | None:
        """The maximum number of epochs, if the hyperparameters do not set it; None: not known."""
        return None

    @property
    def remedy(self) -> str:
        """What may help if parameters are no longer finite: the end of a sentence, from its comma on."""
        return ""

    @property
    def model(self) -> Model:
        """What the artifact would hold, now. It may share the solver's arrays."""

    @property
    def spread(self) -> "Spread | None":
        """What the standard deviation of the model's scores needs, now; None: this solver does not know it."""
        return None

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """What a checkpoint keeps, by the names of `Algorithm.layout`: the arrays themselves, not copies."""

    def check(self) -> None:
        """Check, at the end of training, all state other than the model.

        Raises
        ------
        DivergenceError
            Something is no longer finite, so that parts of the model have stopped to learn; the caller adds where.
        """

    def epoch(self, data: Any, at: Moment) -> Iterator[SafePoint]:
        """Learn from the data once.

        Parameters
        ----------
        data : iterable of (Batch, object), or object
            Of a solver that needs a stream: the batches of this epoch that are not done yet, each with what
            `Algorithm.prepare` gave. Of one that needs all rows: what `Algorithm.load` gave.
        at : Moment
            Where to begin: `n_batches` is not 0 after a checkpoint within an epoch. A stream begins there already; a
            solver that has all rows leaves that many steps out itself.

        Yields
        ------
        point : SafePoint
            After each step. Whoever consumes them may leave at any.

        Raises
        ------
        DataError
            A batch is not as declared.
        DivergenceError
            Parameters are no longer finite; the caller adds where.
        """


class Solver(Learner, Protocol):
    """A learner that has the whole model."""

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """Score rows with the current `model`; validation data is scored so.

        Parameters
        ----------
        batch : Batch

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
        """


class Algorithm(Protocol):
    """What is known of a solver before it exists, and how it is made.

    Attributes
    ----------
    name : str
        The hyperparameter's value, and what a checkpoint says of its arrays.
    needs : {"stream", "resident"}
        Mini-batches, read anew in each epoch, or all rows in memory, read once.
    looks_first : bool
        Whether it needs a pass over the data before the first epoch.
    """

    name: str
    needs: Literal["stream", "resident"]
    looks_first: bool = False

    def look(self, hyperparameters: Hyperparameters, batches: Iterable[Batch]) -> None:
        """Inspect the data before training, if `looks_first` is true. Called once per training.

        Parameters
        ----------
        hyperparameters : Hyperparameters
        batches : iterable of Batch
            One pass over the data.
        """
        return

    def begin_epoch(self, at: Moment) -> None:
        """Called in the reading thread before the batches of an epoch are prepared.

        Parameters
        ----------
        at : Moment
            The epoch, and the number of its batches that are done.
        """
        return

    def layout(self, hyperparameters: Hyperparameters) -> Mapping[str, ArraySpec]:
        """Return the arrays of a checkpoint, in the order of the file.

        Parameters
        ----------
        hyperparameters : Hyperparameters

        Returns
        -------
        layout : mapping of str to ArraySpec
            By name.
        """

    def memory_needed(self, hyperparameters: Hyperparameters) -> int:
        """Return the memory of the solver's arrays, once every feature has occurred.

        Parameters
        ----------
        hyperparameters : Hyperparameters
            With several hosts, those for the part of the model that this host keeps.

        Returns
        -------
        n_bytes : int
        """

    def batch_memory(self, hyperparameters: Hyperparameters, batch: Batch) -> tuple[int, int]:
        """Return the memory that a batch needs, if the algorithm streams.

        Parameters
        ----------
        hyperparameters : Hyperparameters
        batch : Batch

        Returns
        -------
        n_prepared, n_step : tuple of int
            The bytes of what `prepare` returns, and those that a step needs in addition.
        """
        return 0, 0

    def rows_memory(self, hyperparameters: Hyperparameters, n_rows: int, n_entries: int) -> int:
        """Return the memory that all rows need, if `needs` is resident.

        Parameters
        ----------
        hyperparameters : Hyperparameters
        n_rows : int
        n_entries : int
            The number of values in all rows.

        Returns
        -------
        n_bytes : int
        """
        return 0

    def check(self, hyperparameters: Hyperparameters) -> None:
        """Check before any row is read that the hyperparameters are compatible.

        Parameters
        ----------
        hyperparameters : Hyperparameters

        Raises
        ------
        ConfigError
        ConfigError
            They are not; the message says why.
        """
        return

    def model_of(self, hyperparameters: Hyperparameters, arrays: Mapping[str, NDArray[Any]]) -> Model:
        """Create a model from the arrays of a checkpoint that are `of_model`.

        Parameters
        ----------
        hyperparameters : Hyperparameters
        arrays : mapping of str to ndarray
            By name.

        Returns
        -------
        model : Model
        """

    def prepare(self, batch: Batch) -> Any:
        """Prepare a batch before its turn. Called in the reading thread, for each batch.

        Parameters
        ----------
        batch : Batch

        Returns
        -------
        prepared : any
            Passed on to the solver together with the batch.
        """
        return None

    def evaluation(self, hyperparameters: Hyperparameters, model: Model) -> Evaluation:
        """Create the evaluation that validation and test data are scored into.

        Parameters
        ----------
        hyperparameters : Hyperparameters
        model : Model
            A model of this algorithm.

        Returns
        -------
        evaluation : Evaluation
            Empty.
        """
        return RowEvaluation(hyperparameters.predictor_type, hyperparameters)

    def load(self, items: Iterable[tuple[Batch, Any]]) -> Any:
        """Collect all rows, if `needs` is resident. Called once per training.

        Parameters
        ----------
        items : iterable of (Batch, any)
            Each batch with what `prepare` returned.

        Returns
        -------
        rows : any
            Passed on to the solver.
        """
        return list(items)

    def make(
        self,
        hyperparameters: Hyperparameters,
        *,
        is_dense: bool = False,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> Solver:
        """Make the solver.

        One that needs all rows gets them with its first epoch, and may change its arrays' shapes then: a training that
        goes on from its end needs no data.

        Parameters
        ----------
        hyperparameters : Hyperparameters
        is_dense : bool
            What kind of rows there are.
        model : Model, optional
            Starting point.
        state : SolverState, optional
            To go on from; `model` is not looked at then.

        Returns
        -------
        solver : Solver

        Raises
        ------
        ConfigError
            The model to start from does not match the hyperparameters.
        ResourceError
            A device has not enough memory.
        """
