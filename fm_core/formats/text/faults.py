"""What can be wrong with a line of text: a number and a sentence for each fault."""

import enum
from collections.abc import Mapping
from typing import Any

__all__ = ["TextFault", "sentence_of"]


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
    RETURN = 9
    STRAY_QUOTE = 10
    WEIGHT = 11
    WEIGHT_MISSING = 12


_SENTENCES = {
    TextFault.LABEL: "the label is {at!r}, expected a number that is finite as float32",
    TextFault.LABEL_BINARY: "the label is {at!r}, expected 0 or 1",
    TextFault.LABEL_MISSING: "found {at!r} where the label stands, expected a number before the first pair",
    TextFault.PAIR: "{at!r} is not key:value, an integer and a number that is finite as float32{fields}",
    TextFault.KEY: "key {at} is not a feature, expected {first_key} to {last_key} for feature_dim={feature_dim}",
    TextFault.RAGGED: "found {number} columns, expected {n_columns}{why}",
    TextFault.QUOTE: (
        'column {number} has text after its closing quote, expected a separator; write a quote inside a cell as ""'
    ),
    TextFault.QUOTE_OPEN: "a quote in this row is not closed before the end of the data",
    TextFault.RETURN: (
        "the line contains a carriage return: if lines end in carriage returns alone, as on old Macs, "
        "translate them first (tr '\\r' '\\n')"
    ),
    TextFault.WEIGHT: "the weight is {at!r}, expected a finite number of at least 0",
    TextFault.WEIGHT_MISSING: "the label {at!r} has no weight, expected label:weight as in the lines before",
    TextFault.STRAY_QUOTE: (
        "a quoted cell continues to line {number}, but each of these lines has {n_columns} columns by itself: "
        "give --no-quotes if the quote is an ordinary character, else --quotes"
    ),
}


def sentence_of(block: Any, facts: Mapping[str, Any]) -> str:
    """Describe what is wrong with the line at which a block stopped.

    Parameters
    ----------
    block : any
        Parsed lines (parse.py).
    facts : mapping of str to any
        Values for the sentence, by name.

    Returns
    -------
    sentence : str
    """
    at = "" if block.fault_at is None else block.fault_at[:40].decode(errors="replace")
    n_columns = getattr(block, "n_columns", 0)
    text = _SENTENCES[TextFault(block.faulty)]
    fields = "; field:key:value is libFFM's: leave the fields out" if at.count(":") == 2 else ""
    return text.format(at=at, number=block.fault_number, n_columns=n_columns, fields=fields, **facts)
