"""The whole model, gathered from all members in order to be saved."""

import math
from typing import Any

import numpy as np

from fm_core.artifact.model_file import model_arrays
from fm_core.artifact.mxnet_params import encode
from fm_core.cluster.members import Floats, Members, partition_of
from fm_core.model import Model

__all__ = ["GatheredModel", "send_model"]


class _Column:
    """An array of the whole model, whose blocks are fetched from the members when they are asked for.

    Every member has to ask for the same blocks in the same order; the first one gets them, the others get zeros.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, local: Floats, feature_dim: int, members: Members) -> None:
        self._local = local
        self._members = members
        self.shape: tuple[int, ...] = (feature_dim, *local.shape[1:])
        self.ndim = local.ndim
        self.nbytes = 4 * math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, tuple):  # w as a column, which is how it is saved
            return _Column(self._local[rows], self.shape[0], self._members)
        members, partition = self._members, partition_of(self._members)
        start, stop, _ = rows.indices(self.shape[0])
        sent = np.ascontiguousarray(self._local[partition.local_slice(start, stop)])
        to = [len(sent), *[0] * (members.size - 1)]
        slices = (partition.of(rank).local_slice(start, stop) for rank in range(members.size))
        counts = [part.stop - part.start for part in slices]
        received = members.rows.all_to_all(sent, to, counts if members.rank == 0 else [0] * members.size)
        out = np.zeros((stop - start, *self.shape[1:]), np.float32)
        if members.rank == 0:
            at = 0
            for rank, n in enumerate(counts):
                out[partition.of(rank).places_in(start)] = received[at : at + n]
                at += n
        return out


class GatheredModel:
    """A whole model, the rows of which are with the members.

    Its `w` and `V` are read in blocks, by all members alike.
    """

    def __init__(self, local: Model, feature_dim: int, members: Members) -> None:
        self.predictor_type = local.predictor_type
        self.w0 = local.w0
        self.feature_dim = feature_dim
        self.num_factors = local.num_factors
        self.w = _Column(local.w, feature_dim, members)
        self.V = _Column(local.V, feature_dim, members)


def send_model(model: GatheredModel) -> None:
    """Send this member's rows to the first member while that one saves the model.

    Parameters
    ----------
    model : GatheredModel
    """
    for _ in encode(model_arrays(model)):
        pass
