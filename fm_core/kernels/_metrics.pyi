import numpy as np
from numpy.typing import NDArray

def classification_sums(
    scores: NDArray[np.float32], labels: NDArray[np.float32]
) -> tuple[int, int, int, int, float]: ...
