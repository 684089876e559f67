from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

CHUNK_DONE: Final[int]
BATCH_FULL: Final[int]
BAD_RECORD: Final[int]
BAD_FRAME: Final[int]
RECORD_TEXTS: Final[int]

class Decoder:
    uid: bytes | None
    metadata: bytes | None
    n_rows: int
    def __init__(
        self,
        *,
        feature_dim: int,
        batch_size: int,
        labels: str,
        is_dense: bool | None = None,
        dense_as_sparse: bool = False,
        with_texts: bool = False,
        max_record_bytes: int = ...,
        first_room: int = 1024,
    ) -> None: ...
    @property
    def is_dense(self) -> bool | None: ...
    def begin(self) -> None: ...
    def feed(self, chunk: Buffer) -> None: ...
    def advance(self) -> int: ...
    def end(self) -> int: ...
    def problem(self) -> tuple[int, int, int, str]: ...
    def take(
        self,
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.int64] | None,
        NDArray[np.int32] | None,
        NDArray[np.float32] | None,
        NDArray[np.float32] | None,
    ]: ...

def use_vbmi2(wanted: bool) -> bool: ...
def faults() -> dict[str, int]: ...
