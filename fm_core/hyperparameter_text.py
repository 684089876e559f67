"""Hyperparameters as text: how SageMaker sends a value, and how model files keep it."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from fm_core.hyperparameters import Hyperparameters, parameters

__all__ = ["from_texts", "to_text", "to_texts"]


def to_text(value: Any) -> str:
    """Write a typed value as text, as SageMaker does: ``true``, ``1000``, ``0.00001``.

    Parameters
    ----------
    value : bool, int, float or str

    Returns
    -------
    text : str
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # Without an exponent, as the built-in prints its defaults; repr keeps every digit.
        return format(Decimal(repr(value)), "f")
    return str(value)


def to_texts(hyperparameters: Hyperparameters) -> dict[str, str]:
    """Write all hyperparameters that are set as texts.

    Parameters
    ----------
    hyperparameters : Hyperparameters

    Returns
    -------
    texts : dict of str to str
        By name.
    """
    values = {name: getattr(hyperparameters, name) for name in parameters()}
    return {name: to_text(value) for name, value in values.items() if value is not None}


_OF_KIND: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "boolean": {"true": True, "false": False}.__getitem__,
    "choice": str,
    "text": str,
}


def from_texts(texts: Mapping[str, Any]) -> dict[str, Any]:
    """Read the hyperparameters that a model file holds; unknown, unreadable and out-of-range ones are left out.

    Parameters
    ----------
    texts : mapping of str to any
        By name.

    Returns
    -------
    values : dict of str to any
        Typed values, by name.
    """
    typed = {}
    for name, parameter in parameters().items():
        text = texts.get(name)
        if not isinstance(text, str):
            continue
        try:
            value = text if text in parameter.choices else _OF_KIND[parameter.kind](text)
        except (ValueError, KeyError):
            continue
        if parameter.problem(value) is None:
            typed[name] = value
    return typed
