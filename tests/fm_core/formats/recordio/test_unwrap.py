import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.errors import DataError
from fm_core.formats import unwrap
from fm_core.formats.recordio.framing import MAGIC, Framer, frame

MAGIC_BYTES = struct.pack("<I", MAGIC)
# What a Record begins with is never the magic.
payloads = st.binary(max_size=40).filter(lambda data: not data.startswith(MAGIC_BYTES))
objects = st.lists(payloads, min_size=1, max_size=4).map(lambda each: b"".join(frame(payload) for payload in each))


def cut(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def split_frame(data):
    """Frame an object as dmlc's writer does: parts end where the magic stands, and it is dropped."""
    parts = data.split(MAGIC_BYTES)
    flags = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(
        MAGIC_BYTES + struct.pack("<I", flag << 29 | len(part)) + part + bytes(-len(part) % 4)
        for flag, part in zip(flags, parts, strict=True)
    )


@given(st.lists(objects, max_size=4), st.integers(1, 100))
def test_recordio_objects_come_out_of_their_frames(wrapped, size):
    stream = b"".join(frame(each) for each in wrapped)
    assert b"".join(unwrap(cut(stream, size))) == b"".join(wrapped)


@given(
    st.lists(st.lists(payloads.filter(lambda data: MAGIC_BYTES not in data), min_size=1, max_size=4), max_size=4),
    st.integers(1, 100),
)
def test_so_they_do_out_of_frames_that_were_split_at_each_magic(wrapped, size):
    wrapped = [b"".join(frame(payload) for payload in each) for each in wrapped]
    stream = b"".join(split_frame(each) for each in wrapped)
    assert b"".join(unwrap(cut(stream, size))) == b"".join(wrapped)


@given(st.lists(payloads, max_size=8), st.integers(1, 100))
def test_bare_records_keep_their_frames(records, size):
    stream = b"".join(frame(record) for record in records)
    assert b"".join(unwrap(cut(stream, size))) == stream


@given(st.lists(objects | payloads, max_size=5), st.integers(1, 100))
def test_both_kinds_may_stand_in_one_stream(kinds, size):
    stream = b"".join(frame(each) for each in kinds)
    expected = b"".join(each if each.startswith(MAGIC_BYTES) else frame(each) for each in kinds)
    assert b"".join(unwrap(cut(stream, size))) == expected


@given(st.binary(max_size=60), st.integers(1, 9))
def test_anything_else_comes_out_as_it_is_or_is_refused(data, size):
    if data[:4] != MAGIC_BYTES:
        assert b"".join(unwrap(cut(data, size))) == data


@given(objects, st.data())
def test_a_cut_in_the_outer_frame_is_refused_even_between_inner_frames(inner, data):
    stream = frame(inner)
    end = data.draw(st.integers(12, len(stream) - 1))
    with pytest.raises(DataError, match=f"declares {len(inner)} bytes, the data ends after {end - 8}"):
        list(unwrap([stream[:end]]))


def test_a_large_object_is_never_whole_in_memory():
    inner = frame(b"x" * 1000) * 5000
    stream = frame(inner)
    sizes = [len(piece) for piece in unwrap(cut(stream, 1 << 16))]
    assert sum(sizes) == len(inner)
    assert max(sizes) < 1 << 19


def test_what_comes_out_is_what_the_framer_reads():
    inner = frame(b"one") + frame(b"three")
    framer = Framer()
    assert [each.payload for each in framer.feed(b"".join(unwrap([frame(inner), frame(inner)])))] == [
        b"one",
        b"three",
    ] * 2
