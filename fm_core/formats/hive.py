"""Folders such as ``day=3``, by which Hive and Spark split a table: columns that are not in its files."""

import urllib.parse
from collections.abc import Iterable
from pathlib import PurePosixPath

from fm_core.printable import quoted

__all__ = ["folders_above", "folders_left_out", "partition_of", "partitions_of"]

#: What stands for a missing value there.
_MISSING = "__HIVE_DEFAULT_PARTITION__"


def partition_of(folder: str) -> tuple[str, str] | None:
    """Parse the name of a folder such as ``day=3``.

    Parameters
    ----------
    folder : str
        The name of the folder, without its parents.

    Returns
    -------
    column, value : tuple of str, or None
        None if the folder is not a partition.
    """
    name, equals, value = folder.partition("=")
    if not name or not equals:
        return None
    text = urllib.parse.unquote(value)
    return urllib.parse.unquote(name), "" if text == _MISSING else text


def partitions_of(path: str) -> dict[str, str]:
    """Return the columns and values of the folders above a file, in their order.

    Returns
    -------
    columns : dict of str to str
        Values by the name of the column.
    """
    return dict(found for folder in PurePosixPath(path).parts[:-1] if (found := partition_of(folder)))


def folders_above(path: str) -> dict[str, str]:
    """Return the columns and values of the folders directly above a file, up to the first one that is not a partition.

    Returns
    -------
    columns : dict of str to str
        Values by the name of the column.
    """
    found = []
    for folder in reversed(PurePosixPath(path).parts[:-1]):
        partition = partition_of(folder)
        if partition is None:
            break
        found.append(partition)
    return dict(reversed(found))


def folders_left_out(paths: Iterable[str]) -> str | None:
    """Say that the folders above some files, whose rows have feature ids, are columns which no row has.

    Parameters
    ----------
    paths : iterable of str
        Of files that are no tables.

    Returns
    -------
    sentence : str or None
        Without a source; None: there are no such folders.
    """
    names = list(dict.fromkeys(name for path in paths for name in folders_above(path)))
    if not names:
        return None
    shown = ", ".join(quoted(name) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"the folders that are the columns {shown} are no features: rows of feature ids have no columns"
