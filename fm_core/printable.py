"""Make outside text harmless, and of bounded length, before it reaches a log, a terminal or a message.

File names, columns, categories, model names, hyperparameters and messages of other hosts may come from anyone.
Unfiltered, they could start a line of their own, move a terminal's cursor, reverse the direction of text, or look like
a metric that a tuning job reads. The functions here return one line of printable characters in which no metric's
regular expression matches.
"""

import re
from typing import Any

__all__ = ["begun", "first_line", "printable", "printable_html", "printable_json", "quoted"]

#: How the built-in's metrics begin or end; docs/metric_definitions.json looks for nothing without one of them.
_METRIC = re.compile(r"#(?=\w+_(?:metric|score)\b|metrics\b)|<(?=(?:loss|score)>)")


def printable(text: str, most: int | None = None) -> str:
    r"""Make a text one harmless line.

    Parameters
    ----------
    text : str
    most : int, optional
        Characters after which it is cut, and ends with an ellipsis.

    Returns
    -------
    printable : str
        Control characters, line ends, marks of direction, surrogates and what is no character are escaped as Python's
        literals escape them: ``\n``, ``\x1b``, ``\u202e``. ``#quality_metric`` and the like lose their ``#``.
    """
    if most is not None and len(text) > most:
        text = f"{text[: most - 1]}…"
    if not text.isprintable():
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return _METRIC.sub("?", text)


def printable_html(text: str, most: int = 2000) -> str:
    """Make a text one harmless line of a page: in an element, or in an attribute between quotes.

    Parameters
    ----------
    text : str
    most : int
        Characters after which it is cut.

    Returns
    -------
    text : str
        Without characters that have a meaning in HTML.
    """
    import html  # its table of entities takes longer to load than all of this, and only pages need it

    return html.escape(printable(text, most))


def printable_json(text: str) -> str:
    r"""Escape what is not printable in JSON, and what a metric begins with: its texts are the same after that.

    Line ends between its values stay.

    Parameters
    ----------
    text : str
        JSON, perhaps on several lines.

    Returns
    -------
    text : str
        JSON of the same value.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)
    return _METRIC.sub(lambda found: _escaped(found[0]), text)  # which are nowhere in JSON but in texts


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def quoted(value: Any, most: int = 60) -> str:
    """Return a value as Python writes it, shortened and printable, for a message.

    A long text is cut before it is written out.

    Parameters
    ----------
    value : any
    most : int
        Number of characters after which it is cut.

    Returns
    -------
    text : str
    """
    if isinstance(value, str | bytes):
        cut = value if len(value) <= most else value[: most - 1]
        return printable(repr(cut) + ("…" if cut is not value else ""))
    if isinstance(value, dict | list | tuple | set):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 10_000:  # Python writes no more than 4,300 digits
        return f"an integer of {value.bit_length()} bits"
    return printable(repr(value), most)


def begun(value: Any, most: int = 40) -> str:
    """Give the beginning of a value, of JSON mostly: no more of it is looked at than is shown, however deep it is.

    Parameters
    ----------
    value : any
        A text is given as it is, anything else as Python writes it.
    most : int
        Characters.

    Returns
    -------
    text : str
        At most `most` characters.
    """
    return (value if isinstance(value, str) else _begun(value, most))[:most]


def _begun(value: Any, most: int) -> str:
    if most <= 0:
        return "..."
    if isinstance(value, str):
        return repr(value[:most])
    if not isinstance(value, dict | list | tuple):
        return quoted(value)
    ends, length, parts = "{}" if isinstance(value, dict) else "[]", 1, []
    for item in value.items() if isinstance(value, dict) else value:
        of_item = item if isinstance(value, dict) else (item,)
        part = ": ".join([_begun(each, most - length) for each in of_item])
        parts.append(part)
        length += len(part) + 2
        if length > most + 1:
            break
    return f"{ends[0]}{', '.join(parts)}{ends[1]}"


def first_line(error: object) -> str:
    """Return the first line of an error's message.

    Parameters
    ----------
    error : BaseException or str

    Returns
    -------
    line : str
        The name of the error's type if it has no message.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
