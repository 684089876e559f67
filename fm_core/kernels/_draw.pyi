from typing import Final

import numpy as np
from numpy.typing import NDArray

METHODS: Final[dict[str, int]]
NAMES: Final[tuple[str, ...]]

def builds() -> tuple[str, ...]: ...
def use(name: str) -> None: ...
def draw(
    params: NDArray[np.float32],
    key: NDArray[np.uint32],
    factors: tuple[str, float],
    linear: tuple[str, float],
    first: int = 0,
    every: int = 1,
    stream: int = 0,
    num_threads: int = 1,
) -> None: ...
