"""Environment variables that both commands share: the root folder, and the parsing of values.

Training and serving parse their variables once into frozen settings, each in its own settings.py; no other module in
this package reads the environment.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from fm_core.errors import ConfigError

__all__ = ["boolean", "integer", "of_tree", "opt_ml", "seconds"]


def opt_ml(environ: Mapping[str, str]) -> Path:
    """The root of SageMaker's tree: ``FM_OPT_ML``, by default ``/opt/ml``."""
    return Path(environ.get("FM_OPT_ML") or "/opt/ml")


def of_tree(environ: Mapping[str, str], root: Path, port: int) -> dict[str, str]:
    """Return an environment with another root of SageMaker's tree, and another port for requests.

    Parameters
    ----------
    environ : mapping of str to str
    root : Path
        What `FM_OPT_ML` becomes.
    port : int
        What `SAGEMAKER_BIND_TO_PORT` becomes.

    Returns
    -------
    environ : dict of str to str
        A copy.
    """
    return {**environ, "FM_OPT_ML": str(root), "SAGEMAKER_BIND_TO_PORT": str(port)}


def integer(environ: Mapping[str, str], name: str, default: int, minimum: int, maximum: int) -> int:
    """Parse a variable that holds an integer.

    Parameters
    ----------
    environ : mapping of str to str
    name : str
    default : int
        The value if the variable is absent or empty.
    minimum, maximum : int
        The range, both included.

    Returns
    -------
    value : int

    Raises
    ------
    ConfigError
        The variable holds something else; the message names it.
    """
    text = environ.get(name)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text) or not minimum <= int(text) <= maximum:
        raise ConfigError(
            f"environment variable {name} is {text[:80]!r}, expected an integer from {minimum} to {maximum}"
        )
    return int(text)


def boolean(environ: Mapping[str, str], name: str) -> bool:
    """Parse a variable that holds true or false; false if it is absent or empty.

    Raises
    ------
    ConfigError
        The variable holds something else; the message names it.
    """
    text = environ.get(name, "")
    value = {"": False, "false": False, "0": False, "true": True, "1": True}.get(text.lower())
    if value is None:
        raise ConfigError(f"environment variable {name} is {text[:80]!r}, expected true or false")
    return value


def seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    """Parse a variable that holds a number of seconds above 0.

    Parameters
    ----------
    environ : mapping of str to str
    name : str
    default : float
        The value if the variable is absent or empty.

    Returns
    -------
    value : float
        In seconds.

    Raises
    ------
    ConfigError
        The variable holds something else; the message names it.
    """
    text = environ.get(name)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or float(text) == 0:
        raise ConfigError(
            f"environment variable {name} is {text!r}, expected a number of seconds above 0, such as 1800"
        )
    return float(text)
