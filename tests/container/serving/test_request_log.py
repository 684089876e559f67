"""The line of a request."""

import datetime
import json
import re

import pytest

from container.serving import request_log


@pytest.mark.parametrize("nanoseconds", [0, 999_999, 1_000_000, 1_790_000_000_999_999_999, 1_790_000_001_000_000_000])
def test_a_line_has_the_time_in_iso_8601(capfd, monkeypatch, nanoseconds):
    monkeypatch.setattr(request_log.time, "time_ns", lambda: nanoseconds)
    environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/invocations", request_log.STATUS: 200,
        request_log.BYTES_IN: 1, request_log.BYTES_OUT: 2,
    }  # fmt: skip
    request_log.log_request(environ, 0.0015)
    line = json.loads(capfd.readouterr().out)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    found = datetime.datetime.fromisoformat(line["time"])
    milliseconds = datetime.timedelta(milliseconds=nanoseconds // 1_000_000)
    assert found == datetime.datetime.fromtimestamp(0, datetime.UTC) + milliseconds
    assert line["milliseconds"] == 1.5
