"""Dense batches on PyTorch's devices: the same step as `interface.Kernels.train_dense`, as tensor operations.

Plan of one step, rows of a batch shared out among the devices, each device with the parameters of its own:

  1. rows      P = X [V|w] gives s_f and the linear sum in one product; scores and residuals e     each its rows
  2. features  X' [e s | e] - (X^2)' e V is the whole gradient, in one product                     each its rows
  3. sums      the gradients are added up in the devices' order, then those of other members by `reduce`
  4. update    the optimizer's step on the first device, whose parameters the others copy

Batches are staged ahead, from another thread: copied into pinned memory, and from there to the devices on a
stream of their own while the batch before them is computed. Scores leave the device as soon as they are
there, so that the host counts its metrics while gradients are computed.

Everything is float32, and stays so on devices that offer TensorFloat-32 in its place. On one kind of device
the same batches give the same bits. PyTorch is imported with this module, and with nothing else.

References
----------
.. [1] interface.py: the equations.
.. [2] NVIDIA, "cuBLAS library", section "Results reproducibility": CUBLAS_WORKSPACE_CONFIG.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

# Read when cuBLAS is first used: with a workspace of fixed size its sums are made in one order [2]_.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fm_core.errors import ResourceError
from fm_core.kernels.interface import OPTIMIZERS, Step
from fm_core.printable import first_line

__all__ = ["Staged", "TorchDense", "failures_told", "usable_gpus"]

Floats = NDArray[np.float32]

#: As the compiled kernels have them: rounded to float32, and 1 - beta in float32.
_BETA1, _BETA2 = np.float32(0.9), np.float32(0.999)
_REST1, _REST2 = float(np.float32(1) - _BETA1), float(np.float32(1) - _BETA2)

# A precaution, its cause not found: where several threads of a process took their first step on a CPU at once, one had
# other last bits from the same gradient in 3 of some 200 processes (PyTorch 2.13), and in none of 160 with this.
torch.ones(1).sqrt()


def usable_gpus() -> list[str]:
    """Name the GPUs that PyTorch can compute on: none where it is a build for CPUs, or there is no driver."""
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [name for name in names if _computes(name)]


def _computes(name: str) -> bool:
    # A GPU that is older than those PyTorch was built for is listed, and fails at the first kernel.
    try:
        return bool(torch.ones(2, device=name).sum().item() == 2)
    except RuntimeError:
        return False


class Staged(NamedTuple):
    """A batch on its way to the devices: for each of them its rows and labels, and the event of their arrival.

    Where rows have weights, labels have two rows: labels and weights.
    """

    n_rows: int
    parts: list[tuple[Tensor, Tensor, Any]]


class _Replica:
    """One device: the parameters as it has them, its staging buffers and its streams."""

    def __init__(self, name: str) -> None:
        self.device = torch.device(name)
        self.is_cuda = self.device.type == "cuda"
        self.params = torch.empty(0)
        self.bias = torch.empty(0)
        self._copying = torch.cuda.Stream(self.device) if self.is_cuda else None
        self._pinned: list[tuple[Tensor, Any]] = []
        self._turn = 0

    def stage(self, values: Floats, labels: Floats) -> tuple[Tensor, Tensor, Any]:
        """Begin to copy rows, and labels of shape (n_rows,) or (2, n_rows), to the device."""
        n, width = values.shape
        if self._copying is None:
            # a copy also here: how a matrix lies in memory decides in which order its products are summed
            X, y = torch.empty((n, width)), torch.empty(labels.shape)
            np.copyto(X.numpy(), values)
            np.copyto(y.numpy(), labels)
            return X, y, None
        host = self._buffer(n * width + labels.size)
        np.copyto(host[: n * width].numpy().reshape(n, width), values)
        np.copyto(host[n * width :].numpy(), labels.reshape(-1))
        with torch.cuda.device(self.device), torch.cuda.stream(self._copying):
            there = host.to(self.device, non_blocking=True)
            arrived = torch.cuda.Event(blocking=True)  # who waits for it sleeps: the core may be needed
            arrived.record()
        self._pinned[self._turn] = (self._pinned[self._turn][0], arrived)
        return there[: n * width].view(n, width), there[n * width :].view(labels.shape), arrived

    def _buffer(self, size: int) -> Tensor:
        """One of two pinned buffers in turn, once what was copied from it has arrived."""
        if not self._pinned:
            self._pinned = [(torch.empty(0), None), (torch.empty(0), None)]
        self._turn = 1 - self._turn
        buffer, arrived = self._pinned[self._turn]
        if arrived is not None:
            arrived.synchronize()
        if buffer.numel() < size:
            buffer = torch.empty(size, pin_memory=True)
            self._pinned[self._turn] = (buffer, None)
        return buffer[:size]

    def wait_for(self, arrived: Any, *tensors: Tensor) -> None:
        """Compute with tensors of another stream only when they are there, and keep their memory until then."""
        if arrived is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(arrived)
            for tensor in tensors:
                tensor.record_stream(stream)


class TorchDense:
    """Parameters on devices, and their update from dense batches.

    Parameters
    ----------
    devices : sequence of str
        PyTorch's names, such as ``cuda:0``; rows of a batch are shared out among them.
    reduce : callable, optional
        Given the list of gradient tensors of this member, adds those of all members to each of them in place,
        the same bits everywhere: with it, members that each have their rows of a batch train as one.

    Notes
    -----
    `stage` may be called from another thread than the rest.
    """

    def __init__(self, devices: Sequence[str], reduce: Callable[[list[Tensor]], None] | None = None) -> None:
        if not devices:
            raise ValueError("there are no devices, expected at least one")
        # whatever the surroundings say: TensorFloat-32 has ten bits of mantissa
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        with failures_told():
            self._replicas = [_Replica(name) for name in devices]
        self._reduce = reduce
        self._state = torch.empty(0)
        self._most_rows = 0

    @property
    def description(self) -> str:
        """The devices, and what computes on them."""
        return f"{', '.join(_described(replica.device) for replica in self._replicas)} by PyTorch {torch.__version__}"

    @property
    def _leader(self) -> _Replica:
        return self._replicas[0]

    # --- between host and devices ---

    def check_memory(self, feature_dim: int, num_factors: int, optimizer: str) -> None:
        """Refuse what cannot fit a GPU, before it is tried: parameters, state and what a step needs.

        Raises
        ------
        ResourceError
        """
        rows = -(-self._most_rows // len(self._replicas)) * feature_dim
        parameters = feature_dim * (num_factors + 1)
        # state; the gradient, and three arrays of its size in a step of the optimizer; X^2, and one more batch
        n_bytes = 4 * (parameters * (1 + OPTIMIZERS[optimizer].n_states + 4) + 2 * rows)
        for replica in self._replicas:
            free = torch.cuda.mem_get_info(replica.device)[0] if replica.is_cuda else math.inf
            if n_bytes > free:
                raise ResourceError(
                    f"training takes {n_bytes >> 20} MiB of the memory of {_described(replica.device)}, and "
                    f"{int(free) >> 20} MiB are free: lower num_factors, feature_dim or mini_batch_size, use an "
                    "instance with larger GPUs, or train on the CPU with _num_gpus=0"
                )

    def load(self, params: Floats, state: Floats, bias: Floats) -> None:
        """Take over a solver's arrays: copies of them, on the devices."""
        with torch.no_grad(), failures_told():
            for replica in self._replicas:
                replica.params = torch.from_numpy(params).to(replica.device, copy=True)
                replica.bias = torch.from_numpy(bias).to(replica.device, copy=True)
            self._state = torch.from_numpy(state).to(self._leader.device, copy=True)

    def store(self, params: Floats, state: Floats, bias: Floats) -> None:
        """Copy what has been learned into a solver's arrays."""
        for host, there in ((params, self._leader.params), (state, self._state), (bias, self._leader.bias)):
            torch.from_numpy(host).copy_(there)

    def stage(self, values: Floats, labels: Floats, weights: Floats | None = None) -> Staged:
        """Begin to copy a batch to the devices.

        Parameters
        ----------
        values : ndarray of float32, shape (n_rows, feature_dim)
        labels : ndarray of float32, shape (n_rows,)
        weights : ndarray of float32, shape (n_rows,), optional
        """
        n = len(values)
        told = labels if weights is None else np.stack([labels, weights])
        self._most_rows = max(self._most_rows, n)
        cuts = [n * i // len(self._replicas) for i in range(len(self._replicas) + 1)]
        with torch.no_grad(), failures_told():
            return Staged(
                n,
                [
                    replica.stage(values[begin:end], told[..., begin:end])
                    for replica, begin, end in zip(self._replicas, cuts, cuts[1:], strict=False)
                ],
            )

    # --- a step ---

    def predict(self, staged: Staged, classify: bool) -> Floats:
        """Score a batch, shape (n_rows,)."""
        with torch.no_grad(), failures_told():
            scored = [
                _forward(replica.params, replica.bias, X, X * X, classify)[0] for replica, X, _ in self._arrived(staged)
            ]
            return np.concatenate([scores.cpu().numpy() for scores in scored])

    def train(self, staged: Staged, classify: bool, step: Step) -> Floats:
        """Score a batch, then update the parameters from it.

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
            Before the update.
        """
        with torch.no_grad(), failures_told():
            leaving, gradients = [], []
            for replica, X, y in self._arrived(staged):
                X2 = X * X
                scores, P = _forward(replica.params, replica.bias, X, X2, classify)
                leaving.append(_Leaving(scores))
                residuals = scores - y if y.ndim == 1 else (scores - y[0]) * y[1]
                gradients.append(_gradient(replica.params, X, X2, P, residuals))
            total = gradients[0]
            for others in gradients[1:]:
                for tensor, other in zip(total, others, strict=True):
                    tensor.add_(other.to(tensor.device, non_blocking=True))
            if self._reduce is not None:
                self._reduce(total)
            self._update(total, step)
            for replica in self._replicas[1:]:
                replica.params.copy_(self._leader.params, non_blocking=True)
                replica.bias.copy_(self._leader.bias, non_blocking=True)
            return np.concatenate([scores.get() for scores in leaving])

    def _arrived(self, staged: Staged) -> Iterator[tuple[_Replica, Tensor, Tensor]]:
        for replica, (X, y, arrived) in zip(self._replicas, staged.parts, strict=True):
            with torch.cuda.device(replica.device) if replica.is_cuda else contextlib.nullcontext():
                replica.wait_for(arrived, X, y)
                yield replica, X, y

    def _update(self, gradients: list[Tensor], step: Step) -> None:
        params, bias = self._leader.params, self._leader.bias
        width = params.shape[1]
        n_states = self._state.shape[1] // width
        changed = width if step.use_linear else width - 1
        states = [self._state[:, i * width : i * width + changed] for i in range(n_states)]
        lr = _row(step.factors_lr, step.linear_lr, params)[:changed]
        wd = _row(step.factors_wd, step.linear_wd, params)[:changed]
        _FORMULAS[step.optimizer](params[:, :changed], states, gradients[0][:, :changed], lr, wd, step)
        if step.use_bias:
            states = [bias[1 + i : 2 + i] for i in range(n_states)]
            lr, wd = torch.full_like(bias[:1], step.bias_lr), torch.full_like(bias[:1], step.bias_wd)
            _FORMULAS[step.optimizer](bias[:1], states, gradients[1], lr, wd, step)


class _Leaving:
    """Scores on their way from a device."""

    def __init__(self, scores: Tensor) -> None:
        self._left: Any = None
        self._host = scores
        if scores.is_cuda:
            self._host = torch.empty(scores.shape, pin_memory=True)
            self._host.copy_(scores, non_blocking=True)
            self._left = torch.cuda.Event()
            self._left.record()

    def get(self) -> Floats:
        if self._left is not None:
            self._left.synchronize()
        found: Floats = self._host.numpy()
        return found


# ---------------------------------------------------------------- rows and gradients


def _forward(params: Tensor, bias: Tensor, X: Tensor, X2: Tensor, classify: bool) -> tuple[Tensor, Tensor]:
    """Scores of rows, and their P = X [V|w]. What rows sum up to is float64 from there on, as in the kernels."""
    k = params.shape[1] - 1
    P = X @ params
    squares = X2 @ params[:, :k].square().sum(1)
    pairs = P[:, :k].square().sum(1, dtype=torch.float64) - squares
    z = pairs.mul_(0.5).add_(P[:, k]).add_(bias[0])
    return (z.sigmoid_() if classify else z).float(), P


def _gradient(params: Tensor, X: Tensor, X2: Tensor, P: Tensor, residuals: Tensor) -> list[Tensor]:
    """The gradient of [V|w], summed over rows, and that of w0, shape (1,). P is used up."""
    k = params.shape[1] - 1
    # a row without pairs adds nothing to V's: interface.py says why it has to be exactly that
    of_pairs = residuals * (torch.count_nonzero(X, 1) > 1)
    P.mul_(of_pairs[:, None])
    P[:, k] = residuals
    G = X.T @ P
    G[:, :k].addcmul_(params[:, :k], (X2.T @ of_pairs)[:, None], value=-1)
    return [G, residuals.sum(dtype=torch.float64).float()[None]]


# ---------------------------------------------------------------- optimizers: interface.py has the table
#
# theta and its states change in place; the gradient is used up. Rates are rows that fit theta's.


def _row(factors: float, linear: float, params: Tensor) -> Tensor:
    """A rate as a row of [v | w]."""
    row = torch.full_like(params[0], factors)
    row[-1:].fill_(linear)
    return row


def _limited(theta: Tensor, gradient: Tensor, wd: Tensor | None, step: Step) -> Tensor:
    g = gradient.mul_(step.rescale_grad)
    if wd is not None:
        g.addcmul_(theta, wd.expand_as(theta))
    return g.clamp_(-step.clip_gradient, step.clip_gradient) if step.clip_gradient > 0 else g


def _adam(theta: Tensor, states: list[Tensor], gradient: Tensor, lr: Tensor, wd: Tensor, step: Step) -> None:
    g = _limited(theta, gradient, wd, step)
    m, u = states
    m.mul_(float(_BETA1)).add_(g, alpha=_REST1)
    u.mul_(float(_BETA2)).addcmul_(g, g, value=_REST2)
    theta.sub_((m * lr).div_(u.sqrt().add_(step.eps)))


def _sgd(theta: Tensor, states: list[Tensor], gradient: Tensor, lr: Tensor, wd: Tensor, step: Step) -> None:
    theta.sub_(_limited(theta, gradient, wd, step).mul_(lr))


def _adagrad(theta: Tensor, states: list[Tensor], gradient: Tensor, lr: Tensor, wd: Tensor, step: Step) -> None:
    g = _limited(theta, gradient, wd, step)
    h = states[0].addcmul_(g, g)
    theta.sub_(g.mul_(lr).div_(h.sqrt().add_(step.eps)))


def _ftrl(theta: Tensor, states: list[Tensor], gradient: Tensor, lr: Tensor, wd: Tensor, step: Step) -> None:
    g = _limited(theta, gradient, None, step)
    z, n = states
    moves = lr > 0
    slope = torch.where(moves, 1 / lr, 1.0)
    n_next = n + g * g
    z_next = torch.where(n == 0, -(slope + wd) * theta, z) + g - (n_next.sqrt() - n.sqrt()) * slope * theta
    theta.copy_(torch.where(moves, -z_next / ((1 + n_next.sqrt()) * slope + wd), theta))
    z.copy_(torch.where(moves, z_next, z))
    n.copy_(torch.where(moves, n_next, n))


_FORMULAS = {
    OPTIMIZERS["adam"].number: _adam,
    OPTIMIZERS["sgd"].number: _sgd,
    OPTIMIZERS["adagrad"].number: _adagrad,
    OPTIMIZERS["ftrl"].number: _ftrl,
}


# ---------------------------------------------------------------- errors


def _described(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


@contextlib.contextmanager
def failures_told() -> Iterator[None]:
    """Raise what a GPU cannot hold, or cannot do, as ResourceError and OSError, in one sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            "training needs more memory than a GPU has: lower num_factors, feature_dim or mini_batch_size, "
            "use an instance with larger GPUs, or train on the CPU with _num_gpus=0"
        ) from error
    except torch.AcceleratorError as error:
        raise OSError(
            f"a GPU failed: {first_line(error)}; run the job again, or on the CPU with _num_gpus=0"
        ) from error
