"""RecordIO frames, cut and written in plain Python."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.errors import DataError
from fm_core.formats.recordio import framing as recordio
from fm_core.formats.recordio.faults import BadRecord, Fault
from tests.fm_core.formats.recordio import wire
from tests.fm_core.formats.strategies import chunkings

payloads = st.lists(st.one_of(st.binary(max_size=30), st.lists(st.sampled_from([wire.MAGIC, b"abcd"])).map(b"".join)))


def payloads_of(chunks):
    framer = recordio.Framer()
    found = [frame.payload for chunk in chunks for frame in framer.feed(chunk)]
    framer.close()
    return found


@given(payloads, st.data())
def test_what_was_framed_is_found_however_it_is_cut(payloads, data):
    body = b"".join(recordio.frame(payload) for payload in payloads)
    assert payloads_of(data.draw(chunkings(body))) == payloads
    assert payloads_of(body[i : i + 1] for i in range(len(body))) == payloads


@given(payloads, st.data())
def test_parts_are_put_together_with_the_magic_between_them(payloads, data):
    body = b"".join(wire.split_at_magic(payload) for payload in payloads)
    assert payloads_of(data.draw(chunkings(body))) == payloads


def test_a_frame_says_where_its_record_begins():
    body = wire.frame(b"abc") + wire.split_at_magic(b"abcd" + wire.MAGIC) + wire.frame(b"")
    assert [frame.offset for frame in recordio.Framer().feed(body)] == [0, 12, 32]


def test_a_record_is_refused_as_soon_as_its_parts_are_too_long():
    framer = recordio.Framer(max_record_bytes=10)
    assert [frame.payload for frame in framer.feed(wire.frame(bytes(10)))] == [bytes(10)]
    with pytest.raises(BadRecord) as caught:
        list(framer.feed(wire.frame(bytes(4), 1) + wire.frame(bytes(4), 2)))
    assert (caught.value.fault, caught.value.a, caught.value.b) == (Fault.RECORD_LONG, 12, 10)


def test_a_payload_that_a_frame_cannot_say_the_length_of_is_refused(monkeypatch):
    monkeypatch.setattr(recordio, "MAX_PART_BYTES", 3)
    assert recordio.frame(b"abc") == wire.frame(b"abc")
    with pytest.raises(DataError, match="the record has 4 bytes, expected at most 3"):
        recordio.frame(b"abcd")
