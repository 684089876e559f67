"""Whether the memory that a job may use suffices: asked before it is taken.

What the solver's arrays need is known from the hyperparameters, what batches need from the first of them, what there
is from the machine and its control groups. So a job whose arrays do not fit fails before it reads; one whose batches do
not, before it learns. A process that the system kills would leave no word.
"""

from container.resources import available_memory
from fm_core.batch import Batch
from fm_core.errors import ResourceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers import registry
from fm_core.training.memory import batches_needed, memory_needed

__all__ = ["OTHER_BYTES", "Memory", "mebibytes"]

#: Chunks of the channels, the interpreter and its libraries.
OTHER_BYTES = 128 << 20


class Memory:
    """What a job may use, as it begins.

    Parameters
    ----------
    hyperparameters : fm_core.Hyperparameters
        Those of the job.
    local : fm_core.Hyperparameters, optional
        Of several hosts, those for the rows of the model that this one keeps.
    n_hosts : int
        Over which the model is spread.
    num_threads : int
        Of the solver.
    available : int, optional
        Bytes; by default those that this process may still use.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        local: Hyperparameters | None = None,
        *,
        n_hosts: int = 1,
        num_threads: int = 1,
        available: int | None = None,
    ) -> None:
        self._hp = hyperparameters
        self._local = local or hyperparameters
        self._n_hosts = n_hosts
        self._num_threads = num_threads
        self._available = available_memory() if available is None else available
        self._arrays = memory_needed(self._local)

    def check_arrays(self) -> None:
        """Refuse a job whose arrays cannot fit, before they are made.

        Raises
        ------
        ResourceError
            It says what is needed, what is available, and what to lower.
        """
        needed = self._arrays + OTHER_BYTES
        if needed > self._available:
            raise ResourceError(
                f"training takes {mebibytes(needed)} of memory with {self._described_arrays()}, and "
                f"{mebibytes(self._available)} are available: {self._remedy(['num_factors or feature_dim'])}"
            )

    def check_batches(self, first: Batch) -> None:
        """Refuse a job whose batches cannot fit beside its arrays, before the second one is read.

        Raises
        ------
        ResourceError
            As `check_arrays`.
        """
        hp = self._hp
        algorithm = registry.algorithm(hp, self._num_threads)
        if algorithm.needs == "resident":
            return
        batches, shuffled = batches_needed(first, hp, algorithm)
        if self._n_hosts > 1:  # each step has its rows a second time, renumbered
            batches *= 2
        needed = self._arrays + batches + shuffled + OTHER_BYTES
        if needed <= self._available:
            return
        values = f"{first.values.size / max(1, first.n_rows):.0f} values each"
        parts = {
            "mini_batch_size": (batches, f"for batches of mini_batch_size={hp.mini_batch_size} records of {values}"),
            "shuffle_buffer_size": (shuffled, f"for shuffle_buffer_size={hp.shuffle_buffer_size} records"),
            "num_factors or feature_dim": (self._arrays, f"for arrays with {self._described_arrays()}"),
        }
        by_size = sorted(parts.items(), key=lambda part: -part[1][0])
        told = ", ".join(f"{mebibytes(size)} {what}" for _, (size, what) in by_size if size)
        raise ResourceError(
            f"training takes {mebibytes(needed)} of memory ({told}, and {mebibytes(OTHER_BYTES)}), and "
            f"{mebibytes(self._available)} are available: "
            + self._remedy([name for name, (size, _) in by_size if size > needed // 10])
        )

    def check_unfinished(self, n_bytes: int) -> None:
        """Refuse a first batch that does not fit by itself, while it is read.

        Parameters
        ----------
        n_bytes : int
            Of the channel so far; a batch takes no less in memory.

        Raises
        ------
        ResourceError
            As `check_arrays`.
        """
        if n_bytes + self._arrays > self._available:
            raise ResourceError(
                f"training takes {mebibytes(self._arrays)} of memory with {self._described_arrays()}, and more than "
                f"{mebibytes(n_bytes)} for a batch of mini_batch_size={self._hp.mini_batch_size} records; "
                f"{mebibytes(self._available)} are available: {self._remedy(['mini_batch_size'])}"
            )

    def _described_arrays(self) -> str:
        hp = self._local
        share = "" if self._n_hosts == 1 else f" (the share of one host of {self._n_hosts})"
        return f"feature_dim={hp.feature_dim}{share}, num_factors={hp.num_factors} and _optimizer={hp._optimizer}"

    def _remedy(self, names: list[str]) -> str:
        use = "an instance" if self._n_hosts == 1 else "more hosts, or some"
        return f"lower {' or '.join(names)}, or use {use} with more memory"


def mebibytes(n: int) -> str:
    """Write a number of bytes for people."""
    return f"{n >> 20} MiB"
