"""A line of the request log, and the keys of the WSGI environment under which views leave what it tells."""

import datetime
from collections.abc import Mapping
from typing import Any

__all__ = ["ERROR", "ROWS", "request_line"]

ROWS = "fm.rows"
ERROR = "fm.error"


def request_line(
    environ: Mapping[str, Any], resp: Any, path: str, status: int, seconds: float
) -> dict[str, int | float | str]:
    """The object that tells of a request.

    Parameters
    ----------
    environ : mapping
        Of WSGI.
    resp : gunicorn.http.wsgi.Response
    path : str
    status : int
    seconds : float
        It took.
    """
    line: dict[str, int | float | str] = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "method": environ.get("REQUEST_METHOD", "")[:16],
        "path": path[:200],
        "status": status,
        "milliseconds": round(seconds * 1000, 3),
        "bytes_in": int(environ.get("CONTENT_LENGTH") or 0),
        "bytes_out": resp.sent,
    }
    for name, key in (
        ("rows", ROWS),
        ("content_type", "CONTENT_TYPE"),
        ("accept", "HTTP_ACCEPT"),
        ("inference_id", "HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID"),
        ("target_model", "HTTP_X_AMZN_SAGEMAKER_TARGET_MODEL"),
        ("error", ERROR),
    ):
        value = environ.get(key)
        if value is not None:
            line[name] = value if isinstance(value, int) else str(value)[:400].encode(errors="replace").decode()
    return line
