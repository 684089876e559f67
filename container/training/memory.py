"""Check that a job's memory suffices, before it is allocated.

The hyperparameters determine the need of the solver's arrays, and the first batch that of batches; the machine and its
control groups determine what is available. So a job whose arrays do not fit fails before it reads data, and one whose
batches do not fit, before it trains. A process that the system kills could not write a message.
"""

from fm_core.batch import Batch
from fm_core.errors import ResourceError, RowsDoNotFitError
from fm_core.hyperparameters import Hyperparameters
from fm_core.resources import available_memory
from fm_core.solvers import registry
from fm_core.training.memory import batches_needed, memory_needed, rows_needed

__all__ = ["OTHER_BYTES", "Memory", "mebibytes"]

#: Chunks of the channels, the interpreter and its libraries.
OTHER_BYTES = 128 << 20

#: Rows that are expected to take so many times the memory that there is are refused before all are read.
_FORESIGHT = 1.2


class Memory:
    """The memory of a job, as it starts.

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
        self._algorithm = registry.algorithm(hyperparameters, num_threads)
        self._rows = self._kept = 0

    def check_arrays(self) -> None:
        """Refuse a job whose arrays cannot fit, before they are made.

        Raises
        ------
        ResourceError
            The message says what is needed, what is available, and what to lower.
        """
        needed = self._arrays + OTHER_BYTES
        if needed > self._available:
            raise (RowsDoNotFitError if self.keeps_rows else ResourceError)(
                f"training takes {mebibytes(needed)} of memory with {self._described_arrays()}, and "
                f"{mebibytes(self._available)} are available: {self._remedy(['num_factors or feature_dim'])}"
            )

    def check_batches(self, first: Batch) -> None:
        """Refuse a job whose batches do not fit next to its arrays, before the second batch is read.

        Raises
        ------
        ResourceError
            As `check_arrays`.
        """
        if self.keeps_rows:
            return
        hp = self._hp
        batches, shuffled = batches_needed(first, hp, self._algorithm)
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

    @property
    def keeps_rows(self) -> bool:
        """Whether the solver has all rows in memory."""
        return self._algorithm.needs == "resident"

    def check_rows(self, n_rows: int, n_entries: int, share: float | None) -> None:
        """Refuse rows that do not fit, while they are read to be kept.

        Parameters
        ----------
        n_rows, n_entries : int
            So far.
        share : float or None
            Of the data, as far as is known; None: it is not known how much there is.

        Raises
        ------
        RowsDoNotFitError
            The message says what is needed, what is available, and what to do.
        """
        self._rows = rows_needed(n_rows, n_entries, self._hp, self._algorithm)
        needed = self._arrays + self._rows + self._kept + OTHER_BYTES
        known = 1.0 if share is None else min(1.0, max(share, 1e-9))
        expected = needed + int(self._rows * (1 / known - 1))
        if needed <= self._available and expected <= _FORESIGHT * self._available:
            return
        of_all = "" if known == 1 else f", about {int(n_rows / known)} in all"
        raise RowsDoNotFitError(
            f"solver {self._hp.solver} keeps all rows in memory, which takes {mebibytes(max(needed, expected))} with "
            f"{self._described_arrays()} ({n_rows} records of {n_entries} values were read{of_all}), and "
            f"{mebibytes(self._available)} are available: use solver minibatch, or an instance with more memory"
        )

    def check_kept(self, n_bytes: int) -> None:
        """Refuse validation data that does not fit in memory together with the rows, if both are kept."""
        self._kept = n_bytes
        needed = self._arrays + self._rows + self._kept + OTHER_BYTES
        if needed > self._available:
            raise RowsDoNotFitError(
                f"solver {self._hp.solver} keeps the validation data in memory too, which takes "
                f"{mebibytes(needed)} in all, and {mebibytes(self._available)} are available: use less validation "
                "data, or an instance with more memory"
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
        of_optimizer = f" and _optimizer={hp._optimizer}" if hp.solver == "minibatch" else f", solver={hp.solver}"
        return f"feature_dim={hp.feature_dim}{share}, num_factors={hp.num_factors}{of_optimizer}"

    def _remedy(self, names: list[str]) -> str:
        use = "an instance" if self._n_hosts == 1 else "more hosts, or some"
        return f"lower {' or '.join(names)}, or use {use} with more memory"


def mebibytes(n: int) -> str:
    """Write a number of bytes for people."""
    return f"{n >> 20} MiB"
