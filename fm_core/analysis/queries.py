"""Requests for recommendations, their shape checked.

A request is a JSON object as an endpoint gets it, and the same one in Python::

    {"columns": {"user": "ann", "hour": 20}, "top_k": 10, "exclude": ["Alien"], "filter": {"genre": "comedy"}}

Its context has named columns, or feature ids (``"context": {"keys": [7], "values": [1]}``).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from fm_core.analysis.history import is_id
from fm_core.errors import DataError
from fm_core.formats.tables.values import texts_of
from fm_core.printable import begun

__all__ = ["Query"]

#: How many shares an explanation lists if the request does not say.
_SHARES = 10

_MEMBERS = (
    "columns",
    "context",
    "top_k",
    "exclude",
    "filter",
    "history",
    "history_of",
    "explain",
    "spread",
    "configuration",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """A request for recommendations, its shape checked.

    Attributes
    ----------
    where : str
        Its name in messages.
    columns : mapping of str to any, or None
        The context by named columns.
    context : object
        The context by feature ids, where there are no columns.
    top_k : int
    exclude : list of str
        Ids of items to leave out.
    filter : mapping of str to any
        Conditions on the items' columns.
    history : list of mapping, or None
        Rows of labels that the user gave; those items are not recommended.
    history_of : str or None
        The column that the history stands for; None: it is detected.
    explain : int
        The number of shares of each score to return; 0: no explanation.
    spread : bool
        Whether to return standard deviations.
    """

    where: str
    columns: Mapping[str, Any] | None
    context: Any
    top_k: int
    exclude: list[str]
    filter: Mapping[str, Any]
    history: list[Mapping[str, Any]] | None
    history_of: str | None
    explain: int
    spread: bool

    @classmethod
    def of(cls, document: Any, where: str = "the request") -> "Query":
        """Check the shape of a request and parse it.

        Parameters
        ----------
        document : any
            The request, as a JSON parser returns it.
        where : str
            The name of the request in error messages.

        Returns
        -------
        query : Query

        Raises
        ------
        DataError
            It has another one; the message says where.
        """
        if not isinstance(document, dict):
            raise DataError(f"{where} is {begun(document)}, expected an object with columns and top_k")
        for name in document:
            if name not in _MEMBERS:
                raise DataError(f"{where} has {begun(name)!r}, expected only {', '.join(_MEMBERS)}")
        columns, context = document.get("columns"), document.get("context")
        if columns is not None and (context is not None or not isinstance(columns, dict)):
            raise DataError(f'{where}: expected an object "columns", or a "context" of feature ids, and not both')
        top_k = document.get("top_k")
        if type(top_k) is not int or top_k < 1:
            raise DataError(f'{where}: "top_k" is {begun(top_k)}, expected an integer of at least 1')
        exclude, wanted, history = document.get("exclude", []), document.get("filter", {}), document.get("history")
        if not isinstance(exclude, list) or not all(is_id(item) for item in exclude):
            raise DataError(f'{where}: "exclude" is {begun(exclude)}, expected a list of item ids')
        if not isinstance(wanted, dict):
            raise DataError(f'{where}: "filter" is {begun(wanted)}, expected an object such as {{"genre": "comedy"}}')
        if history is not None and not (isinstance(history, list) and all(isinstance(row, dict) for row in history)):
            raise DataError(
                f'{where}: "history" is {begun(history)}, expected a list of objects with the columns of a row '
                'and its "label"'
            )
        configuration = document.get("configuration")
        wanted_too = configuration if isinstance(configuration, dict) else {}
        why = document.get("explain", wanted_too.get("explain"))
        spread = document.get("spread", wanted_too.get("spread")) or False
        if not isinstance(spread, bool):
            raise DataError(f'{where}: "spread" is {begun(spread)}, expected true or false')
        if spread and history is not None:
            raise DataError(
                f'{where}: "spread" and "history" were both given, expected one of them: the uncertainty of a user '
                "who was not in training is unknown"
            )
        history_of = document.get("history_of")
        if history_of is not None and (history is None or not isinstance(history_of, str)):
            raise DataError(f'{where}: "history_of" is {begun(history_of)}, expected the name of a column, together '
                            'with "history"')  # fmt: skip
        return cls(where, columns, context, top_k, texts_of(exclude), wanted, history, history_of,
                   _shares(why, where), spread)  # fmt: skip


def _shares(wanted: Any, where: str) -> int:
    if wanted is None or wanted is False:
        return 0
    if wanted is True:
        return _SHARES
    if type(wanted) is not int or wanted < 1:
        raise DataError(f'{where}: "explain" is {begun(wanted)}, expected true, false or an integer of at least 1')
    return wanted
