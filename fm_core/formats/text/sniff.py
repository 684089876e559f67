"""The first bytes of what should be text: a byte order mark is passed over, another format is said."""

from fm_core.errors import DataError
from fm_core.formats.recordio.framing import MAGIC

__all__ = ["BYTE_ORDER_MARK", "LONGEST_BEGINNING", "refuse_binary"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_MAGICS = {
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"PK\x03\x04": "a zip archive, as npz files are",
    MAGIC.to_bytes(4, "little"): "RecordIO",
    b"\x1f\x8b": "gzip within gzip",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}

#: How many bytes have to be there before it is known how a text begins.
LONGEST_BEGINNING = max(map(len, [BYTE_ORDER_MARK, *_MAGICS]))


def refuse_binary(name: str, head: bytes, expected: str) -> None:
    """Say so if the first bytes of what should be text are those of another format.

    Raises
    ------
    DataError
    """
    for magic, what in _MAGICS.items():
        if head.startswith(magic):
            way_out = (
                "make it UTF-8, or name the encoding (--encoding utf-16)"
                if "UTF" in what
                else "set its content type, or name, to match"
            )
            raise DataError(f"{name}: the file looks like {what}, expected {expected}; {way_out}")
    if b"\0" in head:
        raise DataError(
            f"{name}: byte {head.index(0)} is zero, expected {expected}; the file is not text, or not in UTF-8"
        )
