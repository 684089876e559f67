"""What is sent as bfloat16: the nearest one, and a training by it."""

import fractions
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.cluster.data import DistributedData
from fm_core.cluster.sharded import fit_together
from fm_core.cluster.wire import Narrowed, as_bfloat16, as_float32, on_wire
from tests.fm_core.cluster.jobs import FEATURE_DIM, data_of, hyperparameters, whole
from tests.fm_core.cluster.members import together


def nearest(number):
    """The bits of the bfloat16 next to a finite float32, of two as near the even one."""
    (bits,) = struct.unpack(">I", struct.pack(">f", number))
    below = bits >> 16
    if not bits & 0xFFFF:
        return below
    step = fractions.Fraction(2) ** (max((bits >> 23) & 0xFF, 1) - 127 - 7)
    lost = abs(fractions.Fraction(number)) - abs(fractions.Fraction(float(as_float32(np.uint16([below]))[0])))
    return below + (lost > step / 2 or (lost == step / 2 and below % 2 == 1))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_each_number_becomes_the_nearest(numbers):
    numbers = np.array(numbers, np.float32)
    assert as_bfloat16(numbers).tolist() == [nearest(float(number)) for number in numbers]


@given(st.lists(st.integers(0, 2**16 - 1), min_size=1))
def test_what_is_a_bfloat16_stays_what_it_is(bits):
    numbers = as_float32(np.array(bits, np.uint16))
    np.testing.assert_array_equal(as_float32(as_bfloat16(numbers)), numbers)


def test_what_is_no_number_stays_none():
    every = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000], np.uint32).view(np.float32)
    assert np.isnan(as_float32(as_bfloat16(every))).all()
    infinite = np.array([np.inf, -np.inf, 3.4e38], np.float32)
    assert as_float32(as_bfloat16(infinite)).tolist() == [np.inf, -np.inf, np.inf]


def test_only_float32_is_narrowed_and_into_what_is_given():
    def task(member):
        narrow = Narrowed(member)
        out = np.empty((2, 3), np.float32)
        sent = np.full((2, 3), np.pi, np.float32)
        assert narrow.rows.all_to_all(sent, [1, 1], [1, 1], out) is out
        return out, narrow.rows.all_gather(np.array([np.pi])), narrow.keys is member.keys

    for numbers, exact, are_keys_exact in together(2, task):
        assert (numbers == 3.140625).all()
        assert (exact == np.pi).all()
        assert are_keys_exact


def test_nothing_is_rounded_unless_asked_for_or_for_oneself():
    def task(member):
        return on_wire(member, "float32") is member, on_wire(member, "bfloat16") is member

    assert together(1, task) == [(True, True)]
    assert together(2, task) == [(True, False)] * 2


@pytest.mark.parametrize("sums", [True, False])
def test_members_learn_nearly_what_they_learn_exactly(monkeypatch, sums):
    monkeypatch.setattr("fm_core.cluster.steps.is_shorter", lambda *given: sums)
    rows = DistributedData(lambda epoch: data_of(230, 5), is_replicated=True)
    kinds = [hyperparameters(5, _wire_dtype=dtype) for dtype in ("float32", "bfloat16", "bfloat16")]
    found = [together(3, lambda member, hp=hp: fit_together(rows, hp, member)) for hp in kinds]
    exact, rounded, again = (whole([each.model.V for each in each_of], FEATURE_DIM) for each_of in found)
    assert (rounded == again).all()
    assert 0 < np.abs(rounded - exact).max() < 0.02
    assert len({each.model.w0 for each in found[1]}) == 1
    assert found[1][0].metrics == pytest.approx(found[0][0].metrics, rel=0.01)
