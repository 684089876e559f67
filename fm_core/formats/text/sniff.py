"""The first bytes of a text: skip a byte order mark, and report other formats."""

from fm_core.errors import DataError
from fm_core.formats.recordio.framing import MAGIC

__all__ = ["BYTE_ORDER_MARK", "LONGEST_BEGINNING", "refuse_binary"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_NAMED = "set its content type, or name, to match"
_ENCODED = "make it UTF-8, or name the encoding (--encoding {})"

#: By the first bytes: what it is, and what to do. Longer ones come first: UTF-32 begins as UTF-16 does.
_MAGICS = {
    b"\xff\xfe\0\0": ("UTF-32 text", _ENCODED.format("utf-32")),
    b"\0\0\xfe\xff": ("UTF-32 text", _ENCODED.format("utf-32")),
    b"\xff\xfe": ("UTF-16 text", _ENCODED.format("utf-16")),
    b"\xfe\xff": ("UTF-16 text", _ENCODED.format("utf-16")),
    b"PAR1": ("Parquet", _NAMED),
    b"ARROW1": ("Arrow", _NAMED),
    b"PK\x03\x04": ("a zip archive, as npz files and spreadsheets are", f"{_NAMED}, or unpack it"),
    MAGIC.to_bytes(4, "little"): ("RecordIO", _NAMED),
    b"\x1f\x8b": ("gzip within gzip", "unpack it"),
}

#: How many bytes have to be there before it is known how a text begins.
LONGEST_BEGINNING = max(map(len, [BYTE_ORDER_MARK, *_MAGICS]))


def refuse_binary(name: str, head: bytes, expected: str) -> None:
    """Raise an error if the first bytes of what should be text are those of another format.

    Parameters
    ----------
    name : str
        Of the file, for the message.
    head : bytes
        Its beginning.
    expected : str
        What it should be, in words.

    Raises
    ------
    DataError
        The file looks like another format, or has a zero byte.
    """
    for magic, (what, way_out) in _MAGICS.items():
        if head.startswith(magic):
            raise DataError(f"{name}: the file looks like {what}, expected {expected}; {way_out}")
    if b"\0" in head:
        raise DataError(
            f"{name}: byte {head.index(0)} is zero, expected {expected}; the file is not text, or not in UTF-8"
        )
