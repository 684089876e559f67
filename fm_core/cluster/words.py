"""What hosts say to each other in the store: facts before training, and why one leaves. Written, and read with care.

Whoever reaches the port of the store can put something there (docs/how-to/cluster.md, "Trust"). So whatever is read is
held to its form, its length and its letters, and what is not in that form is told as the loss of the host whose place
it took.
"""

import json
from typing import Any, NamedTuple

from fm_core.printable import printable

__all__ = ["Said", "facts_of", "facts_text", "said_of", "said_text"]

#: Characters of a sentence, and bytes of the facts of a host.
_LONGEST_SENTENCE, _MOST_FACTS = 2_000, 1 << 20

#: Who may be said to have to act.
_BLAMES = ("ClientError", "AlgorithmError")


class Said(NamedTuple):
    """Why a host leaves.

    Attributes
    ----------
    sentence : str
        Empty: it was to be expected.
    blame : str or None
    """

    sentence: str
    blame: str | None = None


def said_text(said: Said) -> str:
    """Write it."""
    return json.dumps({"sentence": said.sentence} | ({"blame": said.blame} if said.blame else {}))


def said_of(text: bytes) -> Said:
    """Read it.

    Raises
    ------
    ValueError
        No host writes that.
    """
    found = _object(text)
    sentence, blame = found.get("sentence"), found.get("blame")
    if (
        not isinstance(sentence, str)
        or not (blame is None or blame in _BLAMES)
        or not found.keys() <= {"sentence", "blame"}
    ):
        raise ValueError("it is no word of a host")
    return Said(printable(sentence, _LONGEST_SENTENCE), blame)


def facts_text(facts: dict[str, Any]) -> str:
    """Write what has to be the same on every host."""
    return json.dumps(facts)


def facts_of(text: bytes) -> dict[str, Any]:
    """Read it.

    Raises
    ------
    ValueError
        No host writes that.
    """
    return _object(text)


def _object(text: bytes) -> dict[str, Any]:
    if len(text) > _MOST_FACTS:
        raise ValueError(f"it has {len(text)} bytes")
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return found
