"""SageMaker's strings -> fm_core.Hyperparameters, and back to strings for the log.

SageMaker sends every value as text, some versions of the SDK add JSON quotes around it,
and a hand-written file may contain JSON numbers. Readable text becomes a typed
value; other text stays text, which fm_core then refuses with the same sentence as
a value out of range. So all problems of a job are reported together, in one form.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from fm_core.errors import ConfigError
from fm_core.hyperparameter_text import to_text
from fm_core.hyperparameters import Hyperparameters, Parameter, parameters

__all__ = ["default_configuration", "final_configuration", "of_model", "parse", "remarks"]

#: Keys with this prefix come from the SDK's script mode and are of no concern to an algorithm.
TOLERATED_PREFIX = "sagemaker_"

_LONGEST_SHOWN = 60


def parse(provided: Mapping[str, Any]) -> Hyperparameters:
    """Turn the content of hyperparameters.json into checked hyperparameters.

    Parameters
    ----------
    provided : mapping of str to object
        Text as SageMaker sends it; JSON numbers and booleans are taken too.

    Returns
    -------
    hyperparameters : fm_core.Hyperparameters

    Raises
    ------
    ConfigError
        The message lists every problem: what is missing, unknown, unreadable or out of range.
    """
    known = parameters()
    problems = [
        f"hyperparameter {_shortened(name)!r} is unknown, the nearest known name is {_nearest(name, list(known))}"
        for name in provided
        if name not in known and not name.startswith(TOLERATED_PREFIX)
    ]
    typed = {name: _typed(known[name], value) for name, value in provided.items() if name in known}
    problems = Hyperparameters.problems(typed) + problems
    if problems:
        raise ConfigError("; ".join(problems))
    return Hyperparameters(**{name: value for name, value in typed.items() if value is not None})


def remarks(provided: Mapping[str, Any]) -> list[str]:
    """What a user should know of admitted hyperparameters that change nothing, a sentence each."""
    known = parameters()
    tolerated = sorted(name for name in provided if name not in known and name.startswith(TOLERATED_PREFIX))
    found = []
    if tolerated:
        found.append(f"Hyperparameters of the SDK's script mode are ignored: {', '.join(tolerated)}")
    found += [
        f"Hyperparameter {name} is {_unquoted(value)!r}; it is accepted and has no effect here"
        for name, value in provided.items()
        if name in known and not known[name].has_effect and _typed(known[name], value) != known[name].default
    ]
    solver = _typed(known["solver"], provided.get("solver", known["solver"].default))
    found += [
        f"Hyperparameter {name} is {_unquoted(value)!r}; with solver {solver} it has no effect"
        for name, value in provided.items()
        if solver != "auto" and name in known and known[name].only_with and solver not in known[name].only_with
    ]
    return found


def default_configuration() -> dict[str, str]:
    """Every hyperparameter that has a default, as the text SageMaker would send."""
    return {name: to_text(p.default) for name, p in parameters().items() if p.default is not None}


def final_configuration(provided: Mapping[str, Any]) -> dict[str, str]:
    """The defaults with what was provided put over them, as the built-in prints and saves it."""
    known = parameters()
    final = default_configuration() | {
        name: value if isinstance(value, str) else to_text(value) for name, value in provided.items()
    }
    solver = _unquoted(final["solver"])
    return {
        name: text for name, text in final.items() if name in provided or known[name].default_with in (None, solver)
    }


def of_model(final: Mapping[str, str]) -> dict[str, str]:
    """Those of the final configuration that the artifact keeps: the same job is the same file on any machine.

    What decides about a host is left out, but for what the built-in itself writes there.
    """
    known = parameters()
    return {
        name: text
        for name, text in final.items()
        if not (name in known and known[name].decides == "host" and known[name].group == "extension")
    }


def _integer(text: str) -> Any:
    # The built-in's pattern is ^([1-9][0-9]*)$; zero is for parameters whose minimum admits it.
    # A number of hundreds of digits is out of every range, and a message is no place for it.
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,39}|0", text) else text


def _number(text: str) -> Any:
    # float() alone would take "nan", "1_000", " 5 " and the digits of every script.
    return float(text) if re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", text) else text


def _boolean(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), text)


_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "choice": str,
    "text": str,
}


def _typed(parameter: Parameter, value: Any) -> Any:
    """The typed value, or text that `parameter` does not admit."""
    value = _unquoted(value)
    if isinstance(value, str) and value not in parameter.choices:
        value = _FROM_TEXT[parameter.kind](value)
    if parameter.kind == "text":
        return value if value is None or isinstance(value, str) else to_text(value)
    if isinstance(value, (list, dict)) or (isinstance(value, int) and abs(value) >= 10**40):
        value = json.dumps(value)
    return _shortened(value) if isinstance(value, str) else value


def _unquoted(value: Any) -> Any:
    """Take off the quotes of a JSON string that stands within a string."""
    if isinstance(value, str) and len(value) >= 2 and value[0] == value[-1] == '"':
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _shortened(text: str) -> str:
    """Keep a message within the 1024 characters that are shown of it."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def _nearest(name: str, known: list[str]) -> str:
    import difflib  # on the way to a failure only: starting a job stays quick

    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
