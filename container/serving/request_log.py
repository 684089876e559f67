"""The request log: a line of JSON on stdout for each request, and the keys of its values in the WSGI environment."""

import contextlib
import functools
import os
import time
from collections.abc import Mapping
from typing import Any

import orjson

from fm_core.printable import printable

__all__ = ["BYTES_IN", "BYTES_OUT", "ERROR", "ROWS", "STATUS", "is_logged", "log_request"]

ROWS = "fm.rows"
ERROR = "fm.error"
STATUS = "fm.status"
BYTES_IN = "fm.bytes_in"
BYTES_OUT = "fm.bytes_out"


def is_logged(environ: Mapping[str, Any], log_level: int) -> bool:
    """Whether a request gets a line: each that was refused, and others by the level, but not /ping."""
    if environ[STATUS] >= 400:
        return True
    return log_level <= 20 and environ["PATH_INFO"] != "/ping"


@functools.lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _moment(ns: int) -> str:
    """A time in ISO 8601 with milliseconds, in UTC."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1_000_000:03}+00:00"


def log_request(environ: Mapping[str, Any], seconds: float) -> None:
    """Write the line of an answered request.

    Parameters
    ----------
    environ : mapping
        Of WSGI, with what stands under the keys of this module.
    seconds : float
        From the request's first byte to its answer.
    """
    line: dict[str, int | float | str] = {
        "time": _moment(time.time_ns()),
        "method": printable(environ["REQUEST_METHOD"], 16),
        "path": printable(environ["PATH_INFO"], 200),
        "status": environ[STATUS],
        "milliseconds": round(seconds * 1000, 3),
        "bytes_in": environ[BYTES_IN],
        "bytes_out": environ[BYTES_OUT],
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
            line[name] = value if isinstance(value, int) else printable(str(value), 400)
    # One write of less than a pipe's atomic size, so lines of several processes do not mix.
    with contextlib.suppress(OSError):  # a full or closed log is no reason to fail a request
        os.write(1, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
