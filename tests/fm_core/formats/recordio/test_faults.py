"""Sentences of refusal."""

import re

import pytest

from fm_core.formats.recordio import _decode
from fm_core.formats.recordio.faults import SENTENCES, BadRecord, Fault, located
from tests.conftest import ROOT


def test_each_fault_has_a_sentence_and_the_same_number_in_c():
    assert set(SENTENCES) == set(Fault)
    assert _decode.faults() == {fault.name: int(fault) for fault in Fault}


@pytest.mark.parametrize("fault", Fault)
def test_each_sentence_is_in_the_docs(fault):
    assert "| " + re.sub(r"\{[^}]*\}", "…", SENTENCES[fault]) + " |" in (ROOT / "docs/reference/formats.md").read_text()


def test_a_sentence_begins_with_its_place():
    assert located("part-0", 7, 99, str(BadRecord(Fault.KEY, 5, 4))) == (
        "part-0: record 7 (byte 99): key 5 is not below feature_dim=4"
    )
    assert located("", 7, 99, "bad") == "record 7 (byte 99): bad"
