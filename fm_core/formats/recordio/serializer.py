"""Serialize rows as the body of a request, for a Predictor of the SageMaker SDK; it does not import the SDK."""

import io
from typing import Any

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.recordio import MEDIA_TYPE
from fm_core.formats.recordio._encode import write_records
from fm_core.given import float_array, refuse_masked

__all__ = ["RecordSerializer"]


def _array(data: Any) -> Any:
    refuse_masked("the rows", data)
    array = data if isinstance(data, np.ndarray) else float_array("the rows", data)
    return array if array.dtype.kind in "biuf" else float_array("the rows", array)


class RecordSerializer:
    """Makes RecordIO-protobuf of rows; takes the place of the SDK's serializer of that name.

    The SDK's takes dense rows only, and version 3 of the SDK has none. A Predictor asks a
    serializer for `CONTENT_TYPE` and calls `serialize`; an instance may also be called.

    Attributes
    ----------
    CONTENT_TYPE : str
        ``application/x-recordio-protobuf``.

    Examples
    --------
    >>> body = RecordSerializer().serialize([[1, 0, 2]])
    >>> isinstance(body, bytes)
    True
    """

    CONTENT_TYPE = MEDIA_TYPE

    def serialize(self, data: Any) -> bytes:
        """Encode rows.

        Parameters
        ----------
        data : sparse matrix or ndarray, shape (n_rows, feature_dim), or array_like of shape (feature_dim,)
            Numbers that are neither float32, float64 nor int64 become float32.

        Returns
        -------
        body : bytes
            One record for each row.

        Raises
        ------
        DataError
            The rows are no numbers, or not finite.
        """
        rows = data if hasattr(data, "tocsr") else np.atleast_2d(_array(data))
        if rows.dtype.kind not in "biuf":
            raise DataError(f"the rows are {rows.dtype}, expected numbers")
        if rows.dtype not in (np.float32, np.float64, np.int64):
            rows = rows.astype(np.float32)
        file = io.BytesIO()
        write_records(file, rows)
        return file.getvalue()

    __call__ = serialize
