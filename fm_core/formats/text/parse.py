"""Streams of text to parsed blocks of whole lines, which are counted from 1, as editors count them."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fm_core.errors import DataError
from fm_core.formats.text._text import Cells, LibsvmRows
from fm_core.formats.text.faults import TextFault, sentence_of
from fm_core.formats.text.sniff import BYTE_ORDER_MARK, LONGEST_BEGINNING, refuse_binary

__all__ = ["MAX_LINE_BYTES", "cell_blocks", "libsvm_blocks"]

#: A line, or a row with quoted newlines; what is longer is no text of rows, or lacks a closing quote.
MAX_LINE_BYTES = 1 << 26

#: What a block of long rows has, if it is asked for: so many, or so many bytes.
_ROWS_OF_BLOCK, _BYTES_OF_BLOCK = 256, 1 << 24

#: Bytes whose lines say together whether libsvm's labels have weights.
_DECIDES = 1 << 16


def libsvm_blocks(
    name: str,
    chunks: Iterable[Any],
    *,
    feature_dim: int,
    first_key: int = 0,
    labels: str = "real",
    on_bad_line: Callable[[str], None] | None = None,
) -> Iterator[LibsvmRows]:
    """Parse lines ``label key:value key:value ...``, or ``label:weight key:value ...`` where labels are wanted.

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

    Yields
    ------
    block : LibsvmRows
        Complete lines, parsed.

    Raises
    ------
    DataError
        A line is wrong; the message names source and line.
    """
    optional = labels == "optional"
    weights: bool | None = False if labels in ("optional", "none") else None

    def parse(data: bytes, *, final: bool, first_line: int) -> LibsvmRows:
        nonlocal labels, weights
        block = LibsvmRows(
            data, final=final, first_line=first_line, feature_dim=feature_dim, first_key=first_key, labels=labels,
            weights=weights,
        )  # fmt: skip
        if weights is None and block.n_rows:  # the first row has decided
            weights = block.weights is not None
            if block.labels is not None and block.weights is not None and block.is_doubtful:
                raise DataError(
                    f"{name}: line {block.lines[0]}: found '{block.labels[0]:g}:{block.weights[0]:g}' where the label "
                    "stands, expected a number before the first pair; if it is label:weight, write the labels with a "
                    "decimal point (3.0:1), because these lines could also be pairs"
                )
        if optional and block.n_rows:  # the first row has decided
            labels = "none" if block.labels is None else "real"
        return block

    facts = {"feature_dim": feature_dim, "first_key": first_key, "last_key": first_key + feature_dim - 1}
    if weights is None:
        chunks = _with_whole_beginning(chunks)
    yield from _blocks(name, chunks, parse, facts, on_bad_line, "libsvm text")


def _with_whole_beginning(chunks: Iterable[Any]) -> Iterator[Any]:
    """Cut a stream so that what its first lines decide does not depend on how it comes."""
    rest = iter(chunks)
    begun = bytearray()
    for chunk in rest:
        begun += chunk
        if len(begun) >= _DECIDES:
            break
    yield bytes(begun[:_DECIDES])
    yield bytes(begun[_DECIDES:])
    yield from rest


def cell_blocks(
    name: str,
    chunks: Iterable[Any],
    *,
    delimiter: str = ",",
    n_columns: int = 0,
    why: str = " as in the first row",
    quotes: bool | None = True,
    on_bad_line: Callable[[str], None] | None = None,
    longest_row: int = MAX_LINE_BYTES,
    many_rows: bool = False,
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
    quotes : bool or None
        Whether quotes stand around cells; None: they do, and it is an error where it is doubtful.
    on_bad_line : callable, optional
        As for `libsvm_blocks`.
    longest_row : int
        Bytes.
    many_rows : bool
        Whether blocks of long rows shall hold some, up to 16 MiB: what is done for each column and block would
        take most of the time otherwise.

    Yields
    ------
    block : any
        Complete lines, parsed.
    """

    def parse(data: bytes, *, final: bool, first_line: int) -> Cells:
        nonlocal n_columns
        block = Cells(
            data, final=final, first_line=first_line, delimiter=delimiter.encode(), n_columns=n_columns,
            quotes=quotes is not False, doubtful=quotes is None,
        )  # fmt: skip
        n_columns = block.n_columns
        return block

    yield from _blocks(name, chunks, parse, {"why": why}, on_bad_line, "delimited text", longest_row, many_rows)


def _blocks(
    name: str,
    chunks: Iterable[Any],
    parse: Callable[..., Any],
    facts: dict[str, Any],
    on_bad_line: Callable[[str], None] | None,
    expected: str,
    longest_row: int = MAX_LINE_BYTES,
    many_rows: bool = False,
) -> Iterator[Any]:
    pieces: list[bytes] = []
    n_bytes = 0
    # What has no whole line is looked at again once it is twice as long, so that a long line takes linear time.
    wanted = LONGEST_BEGINNING
    line = 1
    is_begun = False
    a_row = 0
    for chunk in itertools.chain(chunks, [None]):
        final = chunk is None
        if not final:
            pieces.append(bytes(chunk))
            n_bytes += len(chunk)
            if n_bytes < wanted:
                continue
        rest = b"".join(pieces)
        if not is_begun:
            is_begun = True
            rest = rest.removeprefix(BYTE_ORDER_MARK)
            refuse_binary(name, rest[:4096], expected)
        while rest:
            block = parse(rest, final=final, first_line=line)
            if block.n_rows:
                yield block
                a_row = block.consumed // block.n_rows
            line = block.next_line
            rest = rest[block.consumed :]
            if not block.faulty:
                break
            sentence = f"{name}: line {block.fault_line}: {sentence_of(block, facts)}"
            if on_bad_line is None or block.faulty == TextFault.QUOTE_OPEN:
                raise DataError(sentence)
            on_bad_line(sentence)
        pieces, n_bytes = [rest], len(rest)
        wanted = min(2 * n_bytes, longest_row + 1)
        if many_rows:
            wanted = max(wanted, min(_ROWS_OF_BLOCK * a_row, _BYTES_OF_BLOCK))
        if n_bytes > longest_row:
            raise DataError(
                f"{name}: line {line}: the row that begins here is longer than {longest_row} bytes, expected "
                f"{expected}; look for a quote that is not closed"
            )
