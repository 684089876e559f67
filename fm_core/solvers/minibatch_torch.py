"""Mini-batch training on dense data with GPUs, through PyTorch.

`minibatch.MiniBatch` takes a `DenseDevice` as its device, which stages batches and creates the solver. The solver has
two copies of the parameters: one on the devices, where steps are made, and one here, which is updated only when it is
needed, for a checkpoint or for the model to keep. So a checkpoint written with a GPU is the same as one written on the
CPU, and can be resumed there.

PyTorch is imported when a device is created or looked for, not with this module.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import Step
from fm_core.links import link_for
from fm_core.model import Model
from fm_core.solvers.base import Moment, SafePoint, Solver, SolverState
from fm_core.solvers.parameters import Parameters, ParametersLearner, check_finite, labels_of, rates

if TYPE_CHECKING:
    from fm_core.kernels.torch_dense import Staged, TorchDense

__all__ = ["DenseDevice", "TorchSolver", "usable_gpus"]

Floats = NDArray[np.float32]


def usable_gpus() -> list[str]:
    """Name the GPUs that PyTorch can compute on, as `DenseDevice` takes them.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    """
    from fm_core.kernels import torch_dense

    return torch_dense.usable_gpus()


class DenseDevice:
    """One or several devices of this machine that train one model: see `minibatch.Device`.

    Parameters
    ----------
    devices : sequence of str
        PyTorch's names: ``cuda:0`` and so on. ``cpu`` runs the same code without a GPU.
    reduce : callable, optional
        Where several processes train one model, each on its rows of a batch: is given a list of tensors,
        this process's gradients, and adds up those of all processes in place.
    n_members : int
        How many processes that are: by default a gradient is divided by all of their mini batches.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    RuntimeError
        PyTorch knows no such device, or cannot use it.

    Attributes
    ----------
    devices : tuple of str
    description : str
        The devices as a reader of a log would have them.
    """

    def __init__(
        self, devices: Sequence[str], reduce: Callable[[list[Any]], None] | None = None, n_members: int = 1
    ) -> None:
        from fm_core.kernels.torch_dense import TorchDense

        self.devices = tuple(devices)
        self._tensors = TorchDense(devices, reduce)
        self.description = self._tensors.description
        self._n_members = n_members

    def release(self) -> None:
        """Give the devices up before anything was learned there."""
        self.devices = ()

    def stage(self, batch: Batch) -> "Staged":
        """Start to copy a batch with labels to the devices; see `Device.stage`."""
        return self._tensors.stage(batch.values, batch.known_labels, batch.weights)

    def solver(
        self,
        hyperparameters: Hyperparameters,
        num_threads: int = 1,
        model: Model | None = None,
        state: SolverState | None = None,
    ) -> "TorchSolver":
        """Create the solver, with copies of its arrays on the devices; see `Algorithm.make`.

        Raises
        ------
        ResourceError
            A GPU has not enough memory.
        """
        hp = hyperparameters
        self._tensors.check_memory(hp.feature_dim, hp.num_factors, hp._optimizer)
        here = Parameters.make(hp, num_threads, model, state)
        return TorchSolver(hp, here, self._tensors, num_threads, self._n_members)


class TorchSolver(ParametersLearner, Solver):
    """The update from one dense batch, on devices.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    parameters : Parameters
        Copied to the devices.
    tensors : TorchDense
    num_threads : int
        That score sparse rows, here.
    n_members : int
        See `DenseDevice`.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        parameters: Parameters,
        tensors: "TorchDense",
        num_threads: int = 1,
        n_members: int = 1,
    ) -> None:
        super().__init__(hyperparameters, parameters)
        self._here = parameters
        self._is_behind = False
        self._tensors = tensors
        self._num_threads = num_threads
        self._n_members = n_members
        tensors.load(parameters.params, parameters.state, parameters.bias)

    @property
    def parameters(self) -> Parameters:
        """The parameters as they are on the devices, copied if a step was made since."""
        if self._is_behind:
            self._tensors.store(self._here.params, self._here.state, self._here.bias)
            self._is_behind = False
        return self._here

    def predict(self, batch: Batch) -> Floats:
        """Score a batch on the devices; see `Solver.predict`."""
        if not batch.is_dense:
            return self.model.predict(batch, self._num_threads)
        labels = np.zeros(batch.n_rows, np.float32)
        return self._tensors.predict(self._tensors.stage(batch.values, labels), self._classifies)

    def epoch(self, data: Iterable[tuple[Batch, Any]], at: Moment) -> Iterator[SafePoint]:
        """Make a step from each batch; see `Learner.epoch`."""
        for batch, staged in data:
            yield SafePoint(self.step(batch, staged), batch.labels, batch, weights=batch.weights)

    def step(self, batch: Batch, staged: "Staged | None" = None) -> Floats:
        """Score a batch, then update the parameters from it; see `minibatch.MiniBatchSolver.step`.

        `staged` is what `DenseDevice.stage` gave, if it has been called already.
        """
        labels = labels_of(batch, self.hyperparameters)
        self._here.n_steps += 1
        staged = staged or self._tensors.stage(batch.values, labels, batch.weights)
        scores = self._tensors.train(staged, self._classifies, self._rates())
        self._is_behind = True
        check_finite(scores, self.n_steps, self.hyperparameters)
        return scores

    @property
    def _classifies(self) -> bool:
        return link_for(self.hyperparameters.predictor_type).is_classifier

    def _rates(self) -> Step:
        step = rates(self.hyperparameters, self.n_steps)
        if self.hyperparameters.rescale_grad is not None:
            return step
        return step._replace(rescale_grad=step.rescale_grad / self._n_members)
