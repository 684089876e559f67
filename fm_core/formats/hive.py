"""Folders such as ``day=3``, by which Hive and Spark split a table: columns that are not in its files."""

import urllib.parse
from pathlib import PurePosixPath

__all__ = ["folders_above", "partition_of", "partitions_of"]

#: What stands for a missing value there.
_MISSING = "__HIVE_DEFAULT_PARTITION__"


def partition_of(folder: str) -> tuple[str, str] | None:
    """Return the column and the value that the name of a folder is, or None."""
    name, equals, value = folder.partition("=")
    if not name or not equals:
        return None
    text = urllib.parse.unquote(value)
    return urllib.parse.unquote(name), "" if text == _MISSING else text


def partitions_of(path: str) -> dict[str, str]:
    """Return the columns and values of the folders above a file, in their order."""
    return dict(found for folder in PurePosixPath(path).parts[:-1] if (found := partition_of(folder)))


def folders_above(path: str) -> dict[str, str]:
    """Return the columns and values of the folders next above a file, up to one that is none."""
    found = []
    for folder in reversed(PurePosixPath(path).parts[:-1]):
        partition = partition_of(folder)
        if partition is None:
            break
        found.append(partition)
    return dict(reversed(found))
