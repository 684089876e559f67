from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fm_core.formats.streams import Sink

BUFFER_BYTES: Final[int]
NUMBERS: Final[dict[str, int]]

def write_records(file: Sink, rows: Any, labels: NDArray[Any] | None = None, weights: Any = None) -> None: ...
def encode_predictions(
    scores: NDArray[np.float32],
    predicted_labels: NDArray[np.float32] | None = None,
    uids: Sequence[bytes | str | None] | None = None,
    metadatas: Sequence[bytes | str | None] | None = None,
) -> bytes: ...
