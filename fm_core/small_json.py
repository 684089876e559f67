"""Small JSON files that may be a stranger's: an object, read by the letter of RFC 8259.

Python's own reader takes the last of two members of one name, and NaN; here both are refused, as a file that says two
things says nothing, and so is nesting that no file of ours has.
"""

import json
from typing import Any

from fm_core.printable import quoted

__all__ = ["object_of"]


def object_of(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    data : bytes
        Of which somebody has seen to it that they are few.

    Returns
    -------
    found : dict

    Raises
    ------
    ValueError
        It is something else; the message is a sentence without a source.
    """
    try:
        found = json.loads(data, object_pairs_hook=_object, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"it has the key {quoted(repeated)} twice in one object")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"it has {text}, which is not a JSON number")
