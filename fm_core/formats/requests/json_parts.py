"""Parse a large ``{"instances": [...]}`` in parts: one megabyte of instances at a time.

A JSON parser needs many times the size of the text in memory while it creates objects, and holds
Python's lock meanwhile. So the items of the array are located without parsing (`_json_items`), and parsed
some at a time; the result equals that of parsing the whole.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from fm_core.errors import DataError
from fm_core.formats.requests._json_items import end_of_items, end_of_value, has_repeated_key
from fm_core.printable import quoted

__all__ = ["PART_BYTES", "instance_parts", "line_parts", "parse_json"]

#: Bytes of JSON that are parsed at a time.
PART_BYTES = 1 << 20

#: Members beside the instances, of which each may have so many bytes.
_MOST_OTHER = 1 << 20

_SPACE = b" \t\n\r"
_MEMBER = re.compile(rb'[ \t\n\r]*"([^"\\]*)"[ \t\n\r]*:[ \t\n\r]*')


def parse_json(text: Any, where: str) -> Any:
    """Parse JSON.

    Parameters
    ----------
    text : str or bytes-like
    where : str
        The name of the text in error messages.

    Returns
    -------
    value : any

    Raises
    ------
    DataError
        It is none, or has an object with two members of one name; the sentence begins with `where`.
    MemoryError
    """
    try:
        return _loads(text, where)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{where} is not valid JSON: {error}{_hint(bytes(text), error.pos)}") from None


def _loads(text: Any, where: str) -> Any:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith("Not enough memory"):  # which says nothing of the text
            raise MemoryError from None
        raise
    if has_repeated_key(text, document):
        raise DataError(f"{where} has {_repeated(text)} twice in one object, expected every key once")
    return document


class _FoundError(Exception):
    """The key that was looked for."""


def _repeated(text: Any) -> str:
    """The first key that an object has twice; of a large text only that there is one, as this takes memory."""
    if len(text) > PART_BYTES + 2:
        return "a key"

    def look(members: list[tuple[str, Any]]) -> None:
        seen = set()
        for name, _ in members:
            if name in seen:
                raise _FoundError(name)
            seen.add(name)

    try:
        json.loads(bytes(text), object_pairs_hook=look)
    except _FoundError as found:
        return f"the key {quoted(found.args[0])}"
    except (ValueError, RecursionError):  # a number of 4300 digits, deep nesting
        pass
    return "a key"


def _hint(text: bytes, position: int) -> str:
    # Its position counts characters, not bytes; only what stands there is wanted.
    found = text.decode(errors="replace")[position:][:12]
    if found.lstrip("-").lower().startswith(("nan", "inf")):
        return "; JSON has no NaN and no Infinity: send finite numbers only"
    return ""


def line_parts(body: Any) -> Iterator[bytes]:
    """Cut lines into parts of whole lines.

    Parameters
    ----------
    body : bytes or mmap

    Yields
    ------
    part : bytes
        Complete lines.
    """
    start = 0
    while start < len(body):
        end = body.find(b"\n", min(start + PART_BYTES, len(body))) + 1 or len(body)
        yield body[start:end]
        start = end


def instance_parts(body: Any) -> Iterator[tuple[list[Any], Any, dict[str, Any]]]:
    """Parse a body ``{"instances": [...]}``, some instances at a time.

    Parameters
    ----------
    body : bytes or mmap

    Yields
    ------
    instances : list
    text : bytes or mmap
        What they were parsed from.
    others : dict
        The members beside the instances, the same ones with each part.

    Raises
    ------
    DataError
        The body is not JSON, has a key twice in one object, or is another document.
    """
    found = _bounds(body) if len(body) > PART_BYTES else None
    if found is None:
        document = parse_json(body if isinstance(body, bytes) else memoryview(body), "the body")
        instances = document.get("instances") if isinstance(document, dict) else None
        if not isinstance(instances, list):
            raise DataError('the body is JSON, but not an object with a list of "instances": {"instances": [...]}')
        yield instances, body, {name: value for name, value in document.items() if name != "instances"}
        return
    bounds, others = found
    for start, end in bounds:
        text = b"[%b]" % body[start:end]
        try:
            instances = _loads(text, "the body")
        except orjson.JSONDecodeError as error:
            place = start + len(text.decode(errors="replace")[: error.pos].encode(errors="replace")) - 1
            raise DataError(f"the body is not valid JSON: {error.msg}: byte {place}{_hint(text, error.pos)}") from None
        yield instances, text, others


def _bounds(body: Any) -> tuple[list[tuple[int, int]], dict[str, Any]] | None:
    """Find the parts of the array of instances, and the rest; None if only a parser can find them."""
    at = _skip(body, 0)
    if body[at : at + 1] != b"{":
        return None
    bounds: list[tuple[int, int]] | None = None
    others: list[bytes] = []
    at += 1
    while True:
        member = _MEMBER.match(body, at)
        if member is None:
            return None
        start = member.end()
        if member[1] == b"instances" and body[start : start + 1] == b"[":
            if bounds is not None:
                return None
            found = _items(body, start + 1)
            if found is None:
                return None
            bounds, end = found
            at = _skip(body, end)
        else:
            at = end_of_value(body, start)
            if member[1] == b"instances" or at < 0 or at - start > _MOST_OTHER:
                return None
            others.append(member[0] + body[start:at])
        if body[at : at + 1] != b",":
            break
        at += 1
    if body[at : at + 1] != b"}" or _skip(body, at + 1) < len(body):
        return None
    if bounds is None:
        return None
    try:
        return bounds, _loads(b"{%b}" % b",".join(others), "the body")
    except orjson.JSONDecodeError:
        return None


def _items(body: Any, start: int) -> tuple[list[tuple[int, int]], int] | None:
    """The parts of the array whose first item, if any, begins at `start`; and the byte after its end."""
    bounds = []
    while True:
        end = end_of_items(body, start, PART_BYTES)
        if end < 0:
            return None
        closes = body[end : end + 1] == b"]"
        if not closes and body[end : end + 1] != b",":
            return None
        if _skip(body, start) < end:
            bounds.append((start, end))
        elif bounds or not closes:  # a comma without an item
            return None
        if closes:
            return bounds, end + 1
        start = end + 1


def _skip(body: Any, at: int) -> int:
    while body[at : at + 1] and body[at : at + 1] in _SPACE:
        at += 1
    return at
