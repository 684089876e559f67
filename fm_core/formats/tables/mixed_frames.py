"""DataFrames with columns other than numbers, for estimators: how to recognise them, and their rows by a schema."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.fitting import fit_schema
from fm_core.formats.tables.frames import frame_table, is_frame
from fm_core.formats.tables.learner import TablePlan
from fm_core.formats.tables.schema import TableSchema

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MixedFrame", "is_mixed"]


def is_mixed(frame: Any) -> bool:
    """Return whether an object is a DataFrame with a column of texts, categories, dates or lists.

    Parameters
    ----------
    frame : any

    Returns
    -------
    is_mixed : bool
    """
    if not is_frame(frame):
        return False
    is_plain = hasattr(frame, "iloc") and all(getattr(dtype, "kind", "O") in "biuf" for dtype in frame.dtypes)
    if is_plain:
        return False
    table = frame_table(frame)
    return any(table.declared(i) == "texts" or table.is_list(i) for i in range(len(table.names)))


class MixedFrame:
    """What the columns of a DataFrame became.

    Parameters
    ----------
    schema : TableSchema
    names : ndarray of str, shape (n_columns,)
        All columns that there were, those that became no features too.
    """

    def __init__(self, schema: TableSchema, names: "NDArray[np.object_]") -> None:
        self.schema = schema
        self.names = names

    @classmethod
    def of(cls, frame: Any) -> "MixedFrame":
        """Choose the features of a DataFrame's columns.

        Parameters
        ----------
        frame : DataFrame
            As for `frame_table`.

        Returns
        -------
        chosen : MixedFrame

        Raises
        ------
        DataError
            A name is none, or no column is useful as a feature.
        """
        table = frame_table(frame, "X")
        return cls(fit_schema([table], TablePlan(fit=True)).schema, np.array(table.names, object))

    def batch(self, frame: Any) -> Batch:
        """Encode a DataFrame with the same columns, in any order.

        Parameters
        ----------
        frame : DataFrame
            As for `frame_table`.

        Returns
        -------
        batch : Batch
            Without labels.

        Raises
        ------
        DataError
            It is none, a column is missing, or a cell is not of its column's kind.
        """
        if not (hasattr(frame, "iloc") or hasattr(frame, "__arrow_c_stream__") or isinstance(frame, dict)):
            shown = ", ".join(map(str, self.names[:10]))
            raise DataError(f"X is a {type(frame).__name__}, expected a DataFrame with the columns of fit: {shown}")
        return Encoder(self.schema, labels="none").encode(frame_table(frame, "X"))

    @property
    def groups(self) -> str:
        """See `TableSchema.groups`."""
        return self.schema.groups
