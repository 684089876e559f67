"""The order of the columns in the files of a job: that of the first file, whatever the order of the others."""

from collections.abc import Iterable, Sequence

from fm_core.errors import DataError
from fm_core.printable import quoted

__all__ = ["ColumnOrder", "some_names"]


class ColumnOrder:
    """The order of columns, which the first file decides; those of others are found by their names.

    Parameters
    ----------
    after : ColumnOrder, optional
        That of the rows that are learned from: as soon as it is known, it is the order here too.
    """

    def __init__(self, after: "ColumnOrder | None" = None) -> None:
        self._after = after
        self._first: tuple[str, list[str]] | None = None

    @property
    def first(self) -> tuple[str, list[str]] | None:
        """The first file, and its columns."""
        return (self._after.first if self._after is not None else None) or self._first

    def places(self, source: str, names: Sequence[str], what: str = "its columns") -> list[int]:
        """Give where each column of the first file stands in this one.

        Parameters
        ----------
        source : str
            The file.
        names : sequence of str
        what : str
            What has these names, for the message.

        Returns
        -------
        places : list of int
            For each column of the first file, its position in this one.

        Raises
        ------
        DataError
            The file has other columns.
        """
        self._first = self.first or (source, list(names))
        first, wanted = self._first
        if list(names) == wanted:
            return list(range(len(names)))
        if sorted(names) != sorted(wanted) or len(set(names)) < len(names):
            missing = [name for name in wanted if name not in names]
            strange = [name for name in names if name not in wanted]
            raise DataError(
                f"{source}: {what} are not those of {first}: it lacks {some_names(missing)}, and has "
                f"{some_names(strange)}; expected the same columns in every file"
            )
        return [names.index(name) for name in wanted]


def some_names(names: Iterable[str]) -> str:
    """Name some columns in a message.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    text : str
        At most five names, and the number of the others.
    """
    shown = [quoted(name) for name in names]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return ", ".join(shown[:5]) + more if shown else "none more"
