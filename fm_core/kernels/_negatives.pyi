import numpy as np
from numpy.typing import NDArray

def draw_negatives(
    users: NDArray[np.int32],
    rows: NDArray[np.int64],
    known_starts: NDArray[np.int64],
    known: NDArray[np.int32],
    weights: NDArray[np.int32],
    n_items: int,
    n_negatives: int,
    key: int,
) -> NDArray[np.int32]: ...
def find_pairs(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    labels: NDArray[np.float32] | None,
    first_user: int,
    end_of_users: int,
    first_id: int,
    end_of_ids: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], int]: ...
def put_ranked(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    rows: NDArray[np.int64],
    items: NDArray[np.int32],
    item_starts: NDArray[np.int64],
    item_keys: NDArray[np.int32],
    item_values: NDArray[np.float32],
    item_ranges: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...
