"""Parts of the features, as the hyperparameters `user_features` and `item_features` name them: ``943:1682``."""

import itertools
import re
from collections.abc import Iterable

from fm_core.errors import ConfigError

__all__ = ["feature_ranges", "have_common"]

_PART = re.compile(r"([0-9]{1,10}):([0-9]{1,10})")


def feature_ranges(name: str, text: str, feature_dim: int, most: int | None = None) -> list[range]:
    """Read parts of the features.

    Parameters
    ----------
    name : str
        What says them, for messages.
    text : str
        The first feature of a part, a colon, and the first one behind it; parts are separated by commas.
    feature_dim : int
    most : int, optional
        How many parts there may be.

    Returns
    -------
    parts : list of range
        In the order of the text.

    Raises
    ------
    ConfigError
        It is no such text, a part is not within the features, or two parts share some.
    """
    parts = []
    for piece in text.split(","):
        match = _PART.fullmatch(piece.strip())
        part = range(int(match[1]), int(match[2])) if match else range(0)
        if not part or part.stop > feature_dim:
            raise ConfigError(
                f"hyperparameter {name} is {text[:80]!r}, expected ranges within 0:{feature_dim} such as 943:2625: the "
                "first feature and the one after the last"
            )
        parts.append(part)
    if most is not None and len(parts) > most:
        raise ConfigError(f"hyperparameter {name} is {text[:80]!r}, expected {most} range of features")
    if have_common(parts):
        raise ConfigError(f"hyperparameter {name} is {text[:80]!r}, expected ranges that do not overlap")
    return parts


def have_common(parts: Iterable[range]) -> bool:
    """Return whether two ranges overlap.

    Parameters
    ----------
    parts : iterable of range

    Returns
    -------
    overlap : bool
    """
    ordered = sorted(parts, key=lambda part: part.start)
    return any(before.stop > after.start for before, after in itertools.pairwise(ordered))
