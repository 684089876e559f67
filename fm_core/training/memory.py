"""The memory that a training needs: its arrays, from the hyperparameters, and its batches, from the first one."""

from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers import registry
from fm_core.solvers.base import Algorithm
from fm_core.training.prefetch import DEPTH

__all__ = ["batches_needed", "memory_needed", "rows_needed"]

#: Batches while one is decoded: the decoder's, which grows by doubling, and the copy that it gives.
_DECODED = 2
#: `shuffled` copies its buffer into one batch, whose rows it takes.
_SHUFFLED = 2


def memory_needed(hyperparameters: Hyperparameters, algorithm: Algorithm | None = None) -> int:
    """Return the memory that the arrays of a training take, once every feature has occurred.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Of several hosts, those for the rows of the model that this one keeps.
    algorithm : Algorithm, optional
        By default the one that they ask for.

    Returns
    -------
    n_bytes : int
    """
    hp = hyperparameters
    best = 0 if hp.early_stopping_patience is None else 4 * hp.feature_dim * (hp.num_factors + 1)
    return (algorithm or registry.algorithm(hp)).memory_needed(hp) + best


def batches_needed(first: Batch, hyperparameters: Hyperparameters, algorithm: Algorithm) -> tuple[int, int]:
    """The bytes that batches take at most, where they are like the first one.

    Parameters
    ----------
    first : Batch
        Of the training data: a whole one, or all of it.
    hyperparameters : Hyperparameters
    algorithm : Algorithm

    Returns
    -------
    batches : int
        Those that are decoded, wait with what `Algorithm.prepare` made of them, and are learned from.
    shuffled : int
        The buffer of `shuffle`.
    """
    hp = hyperparameters
    own = first.nbytes
    prepared, step = algorithm.batch_memory(hp, first)
    is_all = first.n_rows < hp.mini_batch_size
    waiting = 1 if is_all else DEPTH + 1  # with the one that is learned from
    batches = (_DECODED + waiting) * own + waiting * prepared + step
    if not hp.shuffle:
        return batches, 0
    rows = first.n_rows if is_all else max(hp.shuffle_buffer_size, hp.mini_batch_size)
    return batches, _SHUFFLED * own * rows // max(1, first.n_rows)


def rows_needed(n_rows: int, n_entries: int, hyperparameters: Hyperparameters, algorithm: Algorithm) -> int:
    """Estimate the memory for rows, of a solver that keeps all of them, and for the batches that they come in.

    Parameters
    ----------
    n_rows, n_entries : int
        Rows, and non-zero values in all of them.
    hyperparameters : Hyperparameters
    algorithm : Algorithm
        The solver's entry in the registry.

    Returns
    -------
    n_bytes : int
    """
    in_batch = min(n_rows, hyperparameters.mini_batch_size)
    of_batches = (_DECODED + DEPTH + 1) * in_batch * (8 * n_entries // max(1, n_rows) + 12)
    return algorithm.rows_memory(hyperparameters, n_rows, n_entries) + of_batches
