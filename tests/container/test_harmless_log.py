"""What a server logs of anybody's text: harmless lines, those of gunicorn and of tracebacks too."""

import io
import logging

import pytest
from gunicorn.config import Config

from container.harmless_log import HarmlessFormatter
from container.serving.server import GunicornLogger
from tests.fm_core.test_printable import ATTACKS, is_harmless


def record(attack):
    try:
        raise KeyError(attack) from ValueError(attack)
    except KeyError as error:
        caught = (type(error), error, error.__traceback__)
    return logging.LogRecord("a", logging.ERROR, attack, 1, f"%s {attack.replace('%', '%%')}", (attack,), caught)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_message_is_a_line_and_a_traceback_lines_that_are_indented(attack):
    text = HarmlessFormatter("[%(levelname)s] %(message)s").format(record(attack))
    first, *others = text.splitlines()
    assert first.startswith("[ERROR] ")
    assert others
    assert all(line.startswith("  ") for line in others)
    assert all(map(is_harmless, text.split("\n")))


def test_gunicorns_lines_are_harmless_too():
    log = GunicornLogger(Config())
    out = io.StringIO()
    for handler in log.error_log.handlers:
        handler.setStream(out)
    for attack in ATTACKS:
        log.error("%s", attack)
        log.exception(attack.replace("%", "%%"))
    assert out.getvalue()
    assert all(map(is_harmless, out.getvalue().split("\n")))
