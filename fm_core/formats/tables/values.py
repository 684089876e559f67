"""One form of a value, whatever brings it: CSV, JSON, a DataFrame, Parquet, Arrow, NumPy or Python.

A cell of a numeric column is a number, a cell of any other column a text; each is made here. The rules, which
docs/how-to/convert.md tells people:

- Blanks around a text are no part of it.
- Nothing, NaN, NaT, null and the texts of `MISSING` are a missing value: the empty text, and no number.
- A number is its decimal digits, as few as read back as the same value in its own type: ``17``, ``17.0`` and ``1.7e1``
  are ``17``, and ``1.50`` is ``1.5``. A text that is written like a JSON number is that number; ``007`` and ``+7`` are
  texts, which no number is written like.
- True and false are ``true`` and ``false``, also written ``True`` or ``TRUE``; as numbers 1 and 0.
- A date is ``2024-01-31``; a time of day on it follows behind a T, to as many digits as it has, and is left out where
  it is midnight; a time with a zone is that of UTC, with a Z behind it.
- Bytes are UTF-8. A duration is a number, its seconds, and no text.
- A list in a list or an object of another kind is no value.

What is compiled (`_values.pyx`) tells cells of text that are in this form already from those that have to be made so.
"""

import datetime
import decimal
import math
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables._values import cell_codes, set_words, settle
from fm_core.formats.text._text import number_in
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "MISSING",
    "ValueFault",
    "canonical",
    "canonical_cells",
    "canonical_texts",
    "in_order",
    "is_missing",
    "number_of",
    "numbers_of",
    "text_codes",
    "text_of",
    "texts_of",
]

#: Texts that stand for a missing value: those of pandas, SQL's dumps, and the question mark of many public data sets.
MISSING = frozenset(
    {
        "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
        "NULL", "NaN", "NaT", "None", "n/a", "nan", "null", "\\N", "?",
    }
)  # fmt: skip

_WORDS = {"true": "true", "True": "true", "TRUE": "true", "false": "false", "False": "false", "FALSE": "false"}
_BLANKS = " \t\n\r\v\f"

#: A number with more digits than this, before or behind the point, is written with an exponent.
_MOST_DIGITS = 40

_NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)?(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?", re.ASCII)
_TIME = re.compile(r"([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?", re.ASCII)
_DATE_TIME = re.compile(
    r"([0-9]{4,6}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?"
    r" ?(?:(Z|UTC)|([+-])([0-9]{2}):?([0-9]{2})?)?",
    re.ASCII,
)

set_words([word.encode() for word in (*MISSING, *_WORDS)])


def canonical(text: str) -> str:
    """Return the canonical form of a text's value.

    Parameters
    ----------
    text : str

    Returns
    -------
    text : str
        Empty for a missing value.
    """
    text = text.strip(_BLANKS)
    if not text or text in MISSING:
        return ""
    if text in _WORDS:
        return _WORDS[text]
    if not (text[0] in "-.0123456789" and text.isascii()):
        return text
    for pattern, form in _FORMS:
        found = pattern.fullmatch(text)
        if found:
            return form(found) or text
    return text


def _number_form(found: "re.Match[str]") -> str:
    sign, whole, behind, exponent = found.groups()
    if not (whole or behind):
        return ""  # a point or a sign alone
    digits = (whole or "") + (behind or "")
    point = len(whole or "") + int(exponent or 0)
    at = len(digits) - len(digits.lstrip("0"))
    digits = digits[at:].rstrip("0")
    point -= at
    if not digits:
        return "0"
    if 0 < point <= _MOST_DIGITS and len(digits) - point <= _MOST_DIGITS:
        whole, behind = digits[:point].ljust(point, "0"), digits[point:]
    elif -_MOST_DIGITS < point <= 0 and len(digits) - point <= _MOST_DIGITS:
        whole, behind = "0", "0" * -point + digits
    else:
        return f"{sign}{digits[0]}{'.' * (len(digits) > 1)}{digits[1:]}e{point - 1}"
    return f"{sign}{whole}{'.' * bool(behind)}{behind}"


def _time_form(found: "re.Match[str]") -> str:
    return found[1] + _fraction(found[2])


def _date_time_form(found: "re.Match[str]") -> str:
    date, minutes, seconds, fraction, utc, sign, hours_off, minutes_off = found.groups()
    try:
        # NumPy's, which do not end with the year 9999: the last second of it in New York is one of 10000 in UTC.
        at = np.datetime64(f"{date}T{minutes}:{seconds or '00'}", "s")
    except ValueError:
        return ""  # it only looks like one
    if sign:
        off = np.timedelta64(60 * int(hours_off) + int(minutes_off or 0), "m")
        at = at - off if sign == "+" else at + off
    fraction = _fraction(fraction)
    has_zone = bool(utc or sign)
    if not (has_zone or fraction or at != at.astype("datetime64[D]")):
        return date
    return f"{at}{fraction}" + ("Z" if has_zone else "")


def _fraction(digits: str | None) -> str:
    digits = (digits or "").rstrip("0")
    return f".{digits}" if digits else ""


_FORMS: tuple[tuple["re.Pattern[str]", Callable[["re.Match[str]"], str]], ...] = (
    (_NUMBER, _number_form),
    (_TIME, _time_form),
    (_DATE_TIME, _date_time_form),
)


def text_of(value: Any) -> str:
    """Return a value as the text of a category.

    Parameters
    ----------
    value : any

    Returns
    -------
    text : str
        Empty for a missing value.

    Raises
    ------
    UnicodeDecodeError
        It is bytes that are not UTF-8.
    TypeError
        It is no value, but a list, say, or a text that is no Unicode.
    """
    if isinstance(value, str):
        return canonical(_unicode(value))
    if is_missing(value):
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, np.timedelta64):  # which is an integer to NumPy
        raise TypeError(f"found {_kind(value)}, expected a number, a text, true or false, a date, or nothing")
    if isinstance(value, (int, np.integer)):
        return canonical(str(int(value)))
    for kind, text in _TEXTS:
        if isinstance(value, kind):
            return canonical(text(value))
    if type(value).__module__.partition(".")[0] == "pandas" and type(value).__name__ in ("Interval", "Period"):
        return canonical(str(value))
    raise TypeError(f"found {_kind(value)}, expected a number, a text, true or false, a date, or nothing")


def texts_of(values: Iterable[Any]) -> list[str]:
    """Return values as the texts that `text_of` returns; it raises the same errors.

    Parameters
    ----------
    values : iterable

    Returns
    -------
    texts : list of str
    """
    values = list(values)
    written = [
        v if type(v) is str else str(v) if type(v) is int and v.bit_length() < 64 else text_of(v) for v in values
    ]
    try:
        return canonical_texts(written)
    except UnicodeEncodeError:  # half of a surrogate pair, which `text_of` names
        return [text_of(value) for value in values]


def _unicode(text: str) -> str:
    """Return a text back; TypeError: it has half of a surrogate pair, for which UTF-8 has no bytes."""
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise TypeError(f"found {quoted(text)}, which is not valid Unicode text: half of a surrogate pair")
    return text


def _time_text(value: np.datetime64) -> str:
    hours_alone = np.datetime_data(value.dtype)[0] in ("h", "m")
    return str(np.datetime_as_string(value.astype("datetime64[s]") if hours_alone else value))


def _utf8(value: "bytes | bytearray | memoryview") -> str:
    return bytes(value).decode()


_TEXTS: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (np.datetime64, _time_text),
    ((float, np.floating), str),
    (decimal.Decimal, str),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),  # of a datetime too
    ((bytes, bytearray, memoryview), _utf8),
    (uuid.UUID, str),
)


def is_missing(value: Any) -> bool:
    """Return whether a value is missing, or a text that means a missing value.

    Parameters
    ----------
    value : any

    Returns
    -------
    is_missing : bool
    """
    if value is None:
        return True
    if isinstance(value, str):
        return not canonical(value)
    if isinstance(value, decimal.Decimal):
        return value.is_nan()  # a signaling NaN cannot be compared
    if isinstance(value, (float, np.floating)):
        return bool(value != value)
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return type(value).__name__ in ("NAType", "NaTType")  # pandas', which need not be imported


def number_of(value: Any) -> float:
    """Return a value as a number.

    Parameters
    ----------
    value : any

    Returns
    -------
    number : float
        NaN if the value is missing or not a number.
    """
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "s"))  # NaT is NaN
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (bool, np.bool_, int, np.integer, float, np.floating, decimal.Decimal)):
        try:
            return float(value)
        except (OverflowError, ValueError):
            return math.inf if isinstance(value, int) else math.nan
    if isinstance(value, (bytes, bytearray, memoryview)):
        return float(number_in(bytes(value)))
    return float(number_in(value.encode(errors="replace"))) if isinstance(value, str) else math.nan


def numbers_of(values: Iterable[Any]) -> "NDArray[np.float64]":
    """Give values as numbers; see `number_of`."""
    return np.array([number_of(value) for value in values], np.float64)


def text_codes(values: Sequence[Any], *, as_they_stand: bool = False) -> "tuple[NDArray[np.int64], list[str]]":
    """Give values as texts, each once in order of appearance, and the number of each value's; -1: missing.

    Parameters
    ----------
    values : sequence
    as_they_stand : bool
        Whether texts are left as they are, because their parts are what has one form.

    Returns
    -------
    codes : ndarray of int64, shape (n,)
        The number of each value's text; -1 for a missing value.
    texts : list of str

    Raises
    ------
    DataError
        A value is none; its ``row`` is where.
    """
    known: dict[str, int] = {}
    seen: dict[tuple[type, Any], int] = {}
    codes = np.empty(len(values), np.int64)
    for row, value in enumerate(values):
        key = (type(value), value)
        try:
            code = seen.get(key)
        except TypeError:  # it has no hash
            code, key = None, None  # type: ignore[assignment]
        if code is None:
            try:
                text = _unicode(value) if as_they_stand and isinstance(value, str) else text_of(value)
            except UnicodeDecodeError as error:
                raise ValueFault(row, "found bytes that are not UTF-8 text") from error
            except TypeError as error:
                raise ValueFault(row, str(error)) from error
            code = known.setdefault(text, len(known)) if text else -1
            if key is not None:
                seen[key] = code
        codes[row] = code
    return codes, list(known)


class ValueFault(DataError):
    """An invalid value, and the number of its row."""

    def __init__(self, row: int, sentence: str) -> None:
        super().__init__(sentence)
        self.row = row


def in_order(codes: "NDArray[np.int64]", texts: Sequence[str]) -> "tuple[NDArray[np.int64], list[str]]":
    """Renumber texts in order of appearance: drop unused and empty ones, and merge equal ones.

    Parameters
    ----------
    codes : ndarray of int64
        The number of each row's text, or -1.
    texts : sequence of str

    Returns
    -------
    codes : ndarray of int64
    texts : list of str
    """
    used, first = np.unique(codes, return_index=True)
    known: dict[str, int] = {}
    new = np.full(len(texts) + 1, -1, np.int64)  # the last is for -1
    for code in used[np.argsort(first, kind="stable")].tolist():
        if code >= 0 and texts[code]:
            new[code] = known.setdefault(texts[code], len(known))
    return new[codes], list(known)


def canonical_cells(data: Any, bounds: "NDArray[np.int32]") -> "tuple[Any, NDArray[np.int32]]":
    """Give cells of text their one form.

    Parameters
    ----------
    data : bytes or bytearray
        Texts that have to be made are put behind what is in a bytearray.
    bounds : ndarray of int32, shape (n_cells, 2)
        Where each cell begins and ends in it.

    Returns
    -------
    data : bytes or bytearray
        The same, or a copy with texts behind it.
    bounds : ndarray of int32, shape (n_cells, 2)
    """
    settled, pending = settle(data, bounds)
    if not len(pending):
        return data, settled
    # Each different text once: columns of truths, prices or days have few.
    codes, texts = cell_codes(data, settled[pending])
    forms = [canonical(text.decode(errors="replace")).encode() for text in texts]
    ends = len(data) + np.cumsum([len(form) for form in forms])
    places = np.stack([ends - [len(form) for form in forms], ends], axis=1)
    settled[pending] = places[codes]
    if not isinstance(data, bytearray):
        return b"".join([data, *forms]), settled
    data += b"".join(forms)
    return data, settled


def canonical_texts(texts: Sequence[str]) -> list[str]:
    """Return the canonical form of many texts; see `canonical`."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    if not len(ends) or ends[-1] >= 2**31:
        return [canonical(text) for text in texts]
    bounds = np.stack([ends - [len(text) for text in encoded], ends], axis=1).astype(np.int32)
    data, bounds = canonical_cells(b"".join(encoded), bounds)
    return [bytes(data[start:end]).decode() for start, end in bounds.tolist()]


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", tuple: "a list", np.ndarray: "a list", datetime.timedelta: "a duration"}
    for kind, name in names.items():
        if isinstance(value, kind):
            return name
    return "a duration" if isinstance(value, np.timedelta64) else f"a value of type {type(value).__name__}"
