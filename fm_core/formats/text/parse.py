"""Streams of text to parsed blocks of whole lines, and what can be wrong with a line.

Lines are counted from 1, as editors count them. What the compiled parsers report by
number is said here, once.
"""

import enum
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fm_core.errors import DataError
from fm_core.formats.recordio.framing import MAGIC
from fm_core.formats.text._text import Cells, LibsvmRows

__all__ = ["MAX_LINE_BYTES", "TextFault", "cell_blocks", "libsvm_blocks", "refuse_binary"]

#: A line, or a row with quoted newlines; what is longer is no text of rows, or lacks a closing quote.
MAX_LINE_BYTES = 1 << 26

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_MAGICS = {
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"PK\x03\x04": "a zip archive, as npz files are",
    MAGIC.to_bytes(4, "little"): "RecordIO",
    b"\x1f\x8b": "gzip within gzip",
}

_LONGEST_BEGINNING = max(map(len, [_BYTE_ORDER_MARK, *_MAGICS]))


class TextFault(enum.IntEnum):
    """A way for a line to be wrong; `_text` repeats the numbers."""

    LABEL = 1
    LABEL_BINARY = 2
    LABEL_MISSING = 3
    PAIR = 4
    KEY = 5
    RAGGED = 6
    QUOTE = 7
    QUOTE_OPEN = 8


_SENTENCES = {
    TextFault.LABEL: "the label is {at!r}, expected a number that is finite as float32",
    TextFault.LABEL_BINARY: "the label is {at!r}, expected 0 or 1",
    TextFault.LABEL_MISSING: "found {at!r} where the label stands, expected a number before the first pair",
    TextFault.PAIR: "{at!r} is not key:value, an integer and a number that is finite as float32",
    TextFault.KEY: "key {at} is not a feature, expected {first_key} to {last_key} for feature_dim={feature_dim}",
    TextFault.RAGGED: "found {number} columns, expected {n_columns}{why}",
    TextFault.QUOTE: 'column {number} has text behind its closing quote, expected a separator; a quote within is ""',
    TextFault.QUOTE_OPEN: "a quote in this row is not closed before the end of the data",
}


def libsvm_blocks(
    name: str,
    chunks: Iterable[Any],
    *,
    feature_dim: int,
    first_key: int = 0,
    labels: str = "real",
    on_bad_line: Callable[[str], None] | None = None,
) -> Iterator[LibsvmRows]:
    """Parse lines ``label key:value key:value ...``.

    Parameters
    ----------
    name : str
        Of the source, for messages.
    chunks : iterable of bytes-like
    feature_dim : int
    first_key : int
        The key of feature 0.
    labels : {"binary", "real", "optional", "none"}
    on_bad_line : callable, optional
        Gets a sentence for a line that is wrong, and raises or lets it be skipped; without
        it such a line is an error.

    Raises
    ------
    DataError
        A line is wrong; the message names source and line.
    """
    optional = labels == "optional"

    def parse(data: bytes, *, final: bool, first_line: int) -> LibsvmRows:
        nonlocal labels
        block = LibsvmRows(
            data, final=final, first_line=first_line, feature_dim=feature_dim, first_key=first_key, labels=labels
        )
        if optional and block.n_rows:  # the first row has decided
            labels = "none" if block.labels is None else "real"
        return block

    facts = {"feature_dim": feature_dim, "first_key": first_key, "last_key": first_key + feature_dim - 1}
    yield from _blocks(name, chunks, parse, facts, on_bad_line, "libsvm text")


def cell_blocks(
    name: str,
    chunks: Iterable[Any],
    *,
    delimiter: str = ",",
    n_columns: int = 0,
    why: str = " as in the first row",
    on_bad_line: Callable[[str], None] | None = None,
) -> Iterator[Cells]:
    """Cut lines into cells.

    Parameters
    ----------
    name : str
    chunks : iterable of bytes-like
    delimiter : str
    n_columns : int
        Cells a row must have; 0: as many as the first one has.
    why : str
        Why so many columns are expected; ends the sentence on a row that has another number.
    on_bad_line : callable, optional
        As for `libsvm_blocks`.
    """

    def parse(data: bytes, *, final: bool, first_line: int) -> Cells:
        nonlocal n_columns
        block = Cells(data, final=final, first_line=first_line, delimiter=delimiter.encode(), n_columns=n_columns)
        n_columns = block.n_columns
        return block

    yield from _blocks(name, chunks, parse, {"why": why}, on_bad_line, "delimited text")


def refuse_binary(name: str, head: bytes, expected: str) -> None:
    """Say so if the first bytes of what should be text are those of another format.

    Raises
    ------
    DataError
    """
    for magic, what in _MAGICS.items():
        if head.startswith(magic):
            raise DataError(f"{name}: the file begins as {what} does, expected {expected}; give it its right type")
    if b"\0" in head:
        raise DataError(f"{name}: byte {head.index(0)} is zero, expected {expected}; the file is not text")


def _blocks(
    name: str,
    chunks: Iterable[Any],
    parse: Callable[..., Any],
    facts: dict[str, Any],
    on_bad_line: Callable[[str], None] | None,
    expected: str,
) -> Iterator[Any]:
    rest = b""
    line = 1
    is_begun = False
    for chunk in itertools.chain(chunks, [None]):
        final = chunk is None
        if not final:
            rest = rest + bytes(chunk)
            if not is_begun and len(rest) < _LONGEST_BEGINNING:
                continue
        if not is_begun:
            is_begun = True
            rest = rest.removeprefix(_BYTE_ORDER_MARK)
            refuse_binary(name, rest[:4096], expected)
        while rest:
            block = parse(rest, final=final, first_line=line)
            if block.n_rows:
                yield block
            line = block.next_line
            rest = rest[block.consumed :]
            if not block.faulty:
                break
            sentence = f"{name}: line {block.fault_line}: {_sentence(block, facts)}"
            if on_bad_line is None or block.faulty == TextFault.QUOTE_OPEN:
                raise DataError(sentence)
            on_bad_line(sentence)
        if len(rest) > MAX_LINE_BYTES:
            raise DataError(
                f"{name}: line {line}: the row that begins here is longer than {MAX_LINE_BYTES} bytes, expected "
                f"{expected}; look for a quote that is not closed"
            )


def _sentence(block: Any, facts: dict[str, Any]) -> str:
    at = "" if block.fault_at is None else block.fault_at[:40].decode(errors="replace")
    n_columns = getattr(block, "n_columns", 0)
    text = _SENTENCES[TextFault(block.faulty)]
    return text.format(at=at, number=block.fault_number, n_columns=n_columns, **facts)
