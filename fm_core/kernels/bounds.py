"""The one check between the source of rows and the kernels, which check nothing themselves.

A batch may come from a file, a schema, a request or another host's message. Every use of a model calls `check_fits`
before it follows an index: a batch that does not fit is refused, and nothing is read out of bounds.
"""

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.given import check_kind
from fm_core.kernels._bounds import within

__all__ = ["check_fits", "check_width"]


def check_fits(batch: Batch, feature_dim: int) -> None:
    """Refuse rows that would lead outside a model of `feature_dim` features.

    Costs some .1 ns an entry, a hundredth of what scoring it does with 8 factors.

    Parameters
    ----------
    batch : Batch
    feature_dim : int
        The model's.

    Raises
    ------
    DataError
        The batch is of another width, a row does not lie within the batch, or a key is no feature.
    """
    check_width(batch, feature_dim)
    if batch.indptr is None or batch.indices is None:
        return
    if not within(batch.indptr, batch.indices, batch.values.size, feature_dim):
        raise DataError(
            f"the rows do not fit: {batch.n_rows} rows of {len(batch.indices)} keys and {batch.values.size} values "
            f"do not follow each other, or a key is not from 0 to {feature_dim - 1}; this is a bug in the code that "
            "made them"
        )


def check_width(batch: Batch, feature_dim: int) -> None:
    """Refuse rows of another width: what `check_fits` does before it looks at keys, for kernels that look themselves.

    Raises
    ------
    DataError
    """
    if type(batch) is not Batch:
        check_kind("the batch", batch, Batch, "a Batch")
    if batch.feature_dim != feature_dim:
        raise DataError(f"rows have feature_dim={batch.feature_dim}, expected the model's {feature_dim}")
    if batch.indptr is None and (batch.values.ndim != 2 or batch.values.shape[1] != feature_dim):
        raise DataError(f"dense rows have shape {batch.values.shape}, expected {feature_dim} values each")
