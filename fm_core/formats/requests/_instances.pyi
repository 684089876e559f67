from typing import Any

import numpy as np
from numpy.typing import NDArray

def collect(
    instances: list[Any], feature_dim: int, what: str, first: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], bool]: ...
