"""The data of the demo: a9a/README.md says what it is and where it comes from."""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

__all__ = ["HYPERPARAMETERS", "load"]

FOLDER = Path(__file__).parent / "a9a"
HYPERPARAMETERS = FOLDER / "hyperparameters.json"  # written by choose_hyperparameters.py


def load(split: str) -> tuple[Any, NDArray[np.float32]]:
    """Load the rows (CSR) and labels of ``train`` or ``test``."""
    file = FOLDER / f"{split}.npz"
    with np.load(file) as arrays:
        labels = arrays["y"]
    return scipy.sparse.load_npz(file).tocsr(), labels
