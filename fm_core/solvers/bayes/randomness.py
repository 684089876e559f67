"""Where the Bayesian solver's random numbers come from: the seed, what is drawn, and when; no state is kept.

Vectors and weights are drawn by the kernels, each number by its place (kernels/draw.h, kernels/polya_gamma.h): `key` is
theirs. The few numbers that groups and the noise need come from a generator that `generator` makes anew each time.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # NumPy loads its generators, some 20 ms, where one is made: mini-batches need none
    from numpy.random import Generator as Generator

__all__ = ["FOLDS", "INITIAL", "OF_ROWS", "VECTORS", "WEIGHTS", "generator", "key"]

#: Third word of Threefry's key: what is drawn. 0 is that of initial values, as in model.py.
INITIAL, VECTORS, WEIGHTS = 0, 1, 2

#: Added to a sweep's number: what its weighted rows draw, which has a generator of its own.
OF_ROWS = 1 << 62

#: The number of the generator that puts rows in parts (held_out.py).
FOLDS = OF_ROWS - 1


def key(seed: int, what: int) -> NDArray[np.uint32]:
    """Return a key of the Threefry generator.

    Parameters
    ----------
    seed : int
        The hyperparameter `seed`.
    what : int
        The purpose of the numbers.

    Returns
    -------
    key : ndarray of uint32, shape (4,)
    """
    return np.array([seed & 0xFFFFFFFF, seed >> 32, what, 0], np.uint32)


def generator(seed: int, number: int) -> "Generator":
    """Return the random generator of a sweep.

    Parameters
    ----------
    seed : int
        The hyperparameter `seed`.
    number : int
        The number of the sweep; 0 for draws before the first one.

    Returns
    -------
    generator : numpy.random.Generator
    """
    return np.random.Generator(np.random.Philox(key=[seed, number]))
