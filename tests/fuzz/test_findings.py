"""The seeds of the fuzzer and all it has ever found, through its targets, without the fuzzer."""

import pytest

from container.serving.requests import DECODERS
from tests.fuzz.targets import FINDINGS, TARGETS, seeds


@pytest.mark.parametrize("target", TARGETS)
def test_no_target_breaks_on_what_is_known(target):
    for data in seeds(target):
        for how in range(0, 256, 5):
            TARGETS[target](data[:-1] + bytes([how]))
    TARGETS[target](b"")


def test_what_broke_a_target_once_does_so_no_more():
    for path in sorted(FINDINGS.glob("*/*")):
        TARGETS[path.parent.name](path.read_bytes())


def test_every_decoder_of_requests_is_a_target():
    assert {name.partition("/")[2] for name in DECODERS} <= TARGETS.keys()
