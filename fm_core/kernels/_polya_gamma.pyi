from typing import Final

import numpy as np
from numpy.typing import NDArray

NAMES: Final[tuple[str, ...]]

def builds() -> tuple[str, ...]: ...
def use(name: str) -> None: ...
def polya_gamma(
    c: NDArray[np.float32], key: NDArray[np.uint32], sweep: int = 0, first: int = 0
) -> NDArray[np.float32]: ...
def turn_rows(
    records: NDArray[np.float32],
    k: int,
    w0: float,
    key: NDArray[np.uint32],
    sweep: int,
    counts: int,
    num_threads: int = 1,
) -> NDArray[np.float64]: ...
