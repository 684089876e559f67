"""Arrow's extension types whose storage is not their value: booleans in bytes, UUIDs, and periods of pandas.

A type that is not registered, such as those of pandas if pandas is not imported, appears as its storage type, with a
note in the metadata of its field.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from fm_core.formats.tables.values import text_of

__all__ = ["of_extension", "of_noted_extension"]

#: Units of NumPy's moments by the frequencies of pandas, of which older ones have other names.
_UNITS = {
    "Y-DEC": "Y", "A-DEC": "Y", "M": "M", "ME": "M", "D": "D", "h": "h", "H": "h", "min": "m", "T": "m", "s": "s",
    "S": "s", "ms": "ms", "L": "ms", "us": "us", "U": "us", "ns": "ns", "N": "ns",
}  # fmt: skip


def of_extension(array: Any) -> Any:
    """Convert an array of an extension type to an array of an ordinary type.

    Parameters
    ----------
    array : pyarrow.Array

    Returns
    -------
    array : pyarrow.Array

    Raises
    ------
    pyarrow.ArrowNotImplementedError
        They have no form here.
    """
    of = _VALUES.get(getattr(array.type, "extension_name", ""))
    described = getattr(array.type, "__arrow_ext_serialize__", bytes)()  # not of types of Arrow's own
    return array.storage if of is None else of(array.storage, described)


def of_noted_extension(array: Any, metadata: Mapping[bytes, bytes] | None) -> Any:
    """Convert an array whose field has an extension type in its metadata.

    Parameters
    ----------
    array : pyarrow.Array
    metadata : mapping of bytes to bytes, or None
        That of the field.

    Returns
    -------
    array : pyarrow.Array
        The same one if the metadata has no extension type.

    Raises
    ------
    pyarrow.ArrowNotImplementedError
        They have no form here.
    """
    found = metadata or {}
    of = _VALUES.get(found.get(b"ARROW:extension:name", b"").decode(errors="replace"))
    return array if of is None else of(array, found.get(b"ARROW:extension:metadata", b""))


def _truths(storage: Any, _: bytes) -> Any:
    import pyarrow

    return storage.cast(pyarrow.bool_())


def _uuids(storage: Any, _: bytes) -> Any:
    import pyarrow

    texts = [None if value is None else str(uuid.UUID(bytes=value)) for value in storage.to_pylist()]
    return pyarrow.array(texts, pyarrow.string())


def _periods(storage: Any, described: bytes) -> Any:
    import pyarrow

    try:
        frequency = str(json.loads(described)["freq"])
    except (ValueError, TypeError, KeyError):
        frequency = ""
    places = storage.cast(pyarrow.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    if frequency in _UNITS:
        periods = places.astype(f"datetime64[{_UNITS[frequency]}]")
    else:
        try:
            import pandas

            periods = pandas.PeriodIndex.from_ordinals(places, freq=frequency)  # of weeks and quarters
        except (ImportError, ValueError) as error:
            raise pyarrow.ArrowNotImplementedError(
                f"periods by {frequency!r} cannot be read, or not without pandas: write them as texts or dates"
            ) from error
    there = storage.is_valid().to_pylist()
    texts = [text_of(period) if is_there else None for period, is_there in zip(periods, there, strict=True)]
    return pyarrow.array(texts, pyarrow.string())


_VALUES: Mapping[str, Callable[[Any, bytes], Any]] = {
    "arrow.bool8": _truths, "arrow.uuid": _uuids, "pandas.period": _periods,
}  # fmt: skip
