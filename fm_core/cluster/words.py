"""The messages between hosts and the board: facts before training, heartbeats, and why a host leaves.

Each is a line of JSON. Anyone who can reach the port of the board can send messages (docs/how-to/cluster.md, "Trust").
So the format, length and characters of everything that is read are checked.
"""

import json
from typing import Any, NamedTuple

from fm_core.printable import printable
from fm_core.small_json import object_of

__all__ = ["MOST_BYTES", "Answer", "Notice", "Said", "answer_of", "answer_text", "notice_of", "notice_text"]

#: Characters of a sentence, of another text, and bytes of a line.
_LONGEST_SENTENCE, _LONGEST_TEXT, MOST_BYTES = 2_000, 4_000, 1 << 20

#: Who may be said to have to act.
_BLAMES = ("ClientError", "AlgorithmError")


class Said(NamedTuple):
    """Why a host leaves, or a job ends.

    Attributes
    ----------
    sentence : str
        Empty: it was to be expected.
    blame : str or None
    """

    sentence: str
    blame: str | None = None


class Notice(NamedTuple):
    """A message from a host to the board.

    Attributes
    ----------
    rank : int
    process : str
        A word by which the host's process is known from then on.
    facts : dict or None
        What has to be the same on every host; once.
    is_ready : bool
        Whether it has all that training needs.
    stops : bool
        Whether it was asked to stop.
    said : Said or None
        Why it leaves.
    put : dict of str
        Texts for the others, by name.
    wants : str
        It is given the texts whose names begin so; empty: none.
    """

    rank: int
    process: str
    facts: dict[str, Any] | None = None
    is_ready: bool = False
    stops: bool = False
    said: Said | None = None
    put: dict[str, str] = {}  # noqa: RUF012 - a tuple's default, which nobody changes
    wants: str = ""


class Answer(NamedTuple):
    """A message from the board.

    Attributes
    ----------
    has_met : bool
        Whether all hosts have come, and agree.
    has_begun : bool
        Whether all are ready.
    stops : bool
        Whether one of them was asked to stop.
    has_ended : bool
        Whether the first host is done, and will fall silent.
    missing : list of int
        Who has not come yet.
    verdict : Said or None
        Why the job ends for all.
    texts : dict of str
        Those that were asked for.
    """

    has_met: bool
    has_begun: bool
    stops: bool
    has_ended: bool
    missing: list[int]
    verdict: Said | None
    texts: dict[str, str]


def notice_text(notice: Notice) -> bytes:
    """Write a notice as a line of JSON.

    Parameters
    ----------
    notice : Notice

    Returns
    -------
    line : bytes
    """
    return _line(notice)


def notice_of(line: bytes) -> Notice:
    """Read a notice.

    Parameters
    ----------
    line : bytes
        A line of JSON, perhaps from a stranger.

    Returns
    -------
    notice : Notice

    Raises
    ------
    ValueError
        No host writes that.
    """
    found = _object(line, Notice._fields)
    rank, process, facts, is_ready, stops, said, put, wants = (found[name] for name in Notice._fields)
    if not (
        type(rank) is int and rank >= 0 and isinstance(process, str) and 0 < len(process) <= 100
        and (facts is None or isinstance(facts, dict)) and isinstance(is_ready, bool) and isinstance(stops, bool)
        and isinstance(wants, str)
    ):  # fmt: skip
        raise ValueError("it is not a notice of a host")
    return Notice(rank, process, facts, is_ready, stops, _said(said), _texts(put), wants)


def answer_text(answer: Answer) -> bytes:
    """Write an answer as a line of JSON.

    Parameters
    ----------
    answer : Answer

    Returns
    -------
    line : bytes
    """
    return _line(answer)


def answer_of(line: bytes) -> Answer:
    """Read an answer.

    Parameters
    ----------
    line : bytes
        A line of JSON, perhaps from a stranger.

    Returns
    -------
    answer : Answer

    Raises
    ------
    ValueError
        No board writes that.
    """
    found = _object(line, Answer._fields)
    met, begun, stops, ended, missing, verdict, texts = (found[name] for name in Answer._fields)
    if not (
        all(isinstance(flag, bool) for flag in (met, begun, stops, ended)) and isinstance(missing, list)
        and all(type(rank) is int for rank in missing)
    ):  # fmt: skip
        raise ValueError("it is not an answer of a board")
    return Answer(met, begun, stops, ended, missing, _said(verdict), _texts(texts))


def _line(said: Notice | Answer) -> bytes:
    return json.dumps(said._asdict()).encode() + b"\n"


def _said(found: Any) -> Said | None:
    if found is None:
        return None
    if not (isinstance(found, list) and len(found) == 2):
        raise ValueError("it is not a message of a host")
    sentence, blame = found
    if not isinstance(sentence, str) or not (blame is None or blame in _BLAMES):
        raise ValueError("it is not a message of a host")
    return Said(printable(sentence, _LONGEST_SENTENCE), blame)


def _texts(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(
        isinstance(text, str) and len(name) + len(text) <= _LONGEST_TEXT for name, text in found.items()
    ):
        raise ValueError("it does not hold texts by name")
    return found


def _object(line: bytes, fields: tuple[str, ...]) -> dict[str, Any]:
    if len(line) > MOST_BYTES:
        raise ValueError(f"it has {len(line)} bytes")
    found = object_of(line)
    if found.keys() != set(fields):
        raise ValueError("it is not an object with the keys of this program")
    return found
