from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

BUFFER_BYTES: Final[int]
NUMBERS: Final[dict[str, int]]

def write_records(file: BinaryIO, rows: Any, labels: NDArray[Any] | None = None) -> None: ...
def encode_predictions(
    scores: NDArray[np.float32],
    predicted_labels: NDArray[np.float32] | None = None,
    uids: Sequence[bytes | str | None] | None = None,
    metadatas: Sequence[bytes | str | None] | None = None,
) -> bytes: ...
