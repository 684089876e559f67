"""Where dense batches are learned from if not on the CPU: GPUs, through PyTorch.

`DenseDevice` is what `fit` takes as its `device`: it stages batches and makes the solver. That solver is `Solver` with
its arrays elsewhere: whoever reads `params`, `state` or `bias` (a checkpoint, the model that is kept) gets what is
there, copied when it is asked for and not before. So a checkpoint of a GPU is one of the CPU, and goes on there.

PyTorch is imported when a device is made or looked for, not with this module.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fm_core.batch import Batch
from fm_core.checkpoints.file import Checkpoint
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import Step
from fm_core.links import link_for
from fm_core.model import Model
from fm_core.training.loop import Solver

if TYPE_CHECKING:
    from fm_core.kernels.torch_dense import Staged, TorchDense

__all__ = ["DenseDevice", "usable_gpus"]

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
    """One or several devices of this machine that train one model: see `solver.Device`.

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
        """Begin to copy a batch with labels to the devices."""
        return self._tensors.stage(batch.values, batch.known_labels)

    def solver(
        self,
        hyperparameters: Hyperparameters,
        num_threads: int = 1,
        model: Model | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Solver:
        """Make the solver, its arrays copied to the devices.

        Raises
        ------
        ResourceError
            A GPU has not enough memory.
        """
        hp = hyperparameters
        self._tensors.check_memory(hp.feature_dim, hp.num_factors, hp._optimizer)
        return _DeviceSolver(self, self._tensors, self._n_members, hp, num_threads, model, checkpoint)


class _DeviceSolver(Solver):
    """A solver whose parameters are on devices; its own arrays follow when they are asked for."""

    def __init__(
        self,
        device: DenseDevice,
        tensors: "TorchDense",
        n_members: int,
        hyperparameters: Hyperparameters,
        num_threads: int,
        model: Model | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._is_behind = False
        super().__init__(hyperparameters, num_threads, model, checkpoint)
        self._device = device
        self._tensors = tensors
        self._n_members = n_members
        tensors.load(self._params, self._state, self._bias)

    def _update(self, batch: Batch, labels: Floats, staged: "Staged | None") -> tuple[Floats, Floats]:
        scores = self._tensors.train(staged or self._device.stage(batch), self._classifies, self._step())
        self._is_behind = True
        return scores, scores

    def predict(self, batch: Batch) -> Floats:
        """Score a batch on the devices."""
        if not batch.is_dense:
            return super().predict(batch)
        labels = np.zeros(batch.n_rows, np.float32)
        return self._tensors.predict(self._tensors.stage(batch.values, labels), self._classifies)

    @property
    def _classifies(self) -> bool:
        return link_for(self.hyperparameters.predictor_type).is_classifier

    def _step(self) -> Step:
        step = super()._step()
        if self.hyperparameters.rescale_grad is not None:
            return step
        return step._replace(rescale_grad=step.rescale_grad / self._n_members)

    def _fetch(self) -> None:
        if self._is_behind:
            self._tensors.store(self._params, self._state, self._bias)
            self._is_behind = False

    @property
    def params(self) -> Floats:
        self._fetch()
        return self._params

    @params.setter
    def params(self, array: Floats) -> None:
        self._params = array

    @property
    def state(self) -> Floats:
        self._fetch()
        return self._state

    @state.setter
    def state(self, array: Floats) -> None:
        self._state = array

    @property
    def bias(self) -> Floats:
        self._fetch()
        return self._bias

    @bias.setter
    def bias(self, array: Floats) -> None:
        self._bias = array
