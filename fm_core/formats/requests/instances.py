"""JSON instances, parsed already, as a Batch.

The shapes are those of SageMaker's common data formats for inference. Reading the JSON
text is the caller's: this module takes what a JSON parser gives.
"""

from typing import Any

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.canonical import sparse_batch
from fm_core.formats.requests._instances import collect

__all__ = ["decode_instances"]


def decode_instances(instances: list[Any], *, feature_dim: int, what: str = "instance", first: int = 0) -> Batch:
    """Make a sparse batch of JSON instances, dense and sparse ones mixed as they come.

    Parameters
    ----------
    instances : list
        Each one of ``{"features": [...]}``, ``{"data": {"features": {"values": [...]}}}`` and
        ``{"data": {"features": {"keys": [...], "shape": [feature_dim], "values": [...]}}}``
        (``shape`` may be absent), or the innermost object alone; other members, such as
        ``configuration``, are ignored.
    feature_dim : int
    what : str
        What an element is called in messages.
    first : int
        The number of the first one in messages.

    Returns
    -------
    batch : Batch
        Sparse, without labels; the values of a repeated key are added up.

    Raises
    ------
    DataError
        An instance is not of the above shapes, a key is not below `feature_dim`, a dense
        instance is of another width, or a number is not finite as float32; the message
        names the instance.
    """
    if not isinstance(instances, list):
        raise DataError(f"the instances are {type(instances).__name__}, expected a list")
    indptr, indices, values, ascending = collect(instances, feature_dim, what, first)
    return sparse_batch(feature_dim, indptr, indices, values, ascending=ascending, what=what, first_row=first)
