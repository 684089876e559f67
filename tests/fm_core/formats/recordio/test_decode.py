"""The compiled decoder: memory, refusals of its own, and what it leaves to nobody else."""

import ctypes
import gc
import mmap
import platform
import sys
import threading
import tracemalloc

import numpy as np
import pytest

from fm_core.formats.recordio import _decode
from tests.fm_core.formats.recordio import wire
from tests.fm_core.formats.twins import compiled, plain


def decoder(**options):
    return _decode.Decoder(**{"feature_dim": 10, "batch_size": 1000, "labels": "none", **options})


def started(*chunks, **options):
    """A decoder that has been fed, and what it said after each chunk."""
    new = decoder(**options)
    new.begin()
    events = []
    for chunk in chunks:
        new.feed(chunk)
        events.append(new.advance())
    return new, events


def test_a_record_is_refused_as_soon_as_its_parts_are_too_long():
    parts = wire.frame(b"\x7a\x02ab", 1), wire.frame(b"abcd", 2)
    new, events = started(wire.frame(b"\x7a\x08abcdefgh"), *parts, max_record_bytes=10)
    assert events == [_decode.CHUNK_DONE, _decode.CHUNK_DONE, _decode.BAD_FRAME]
    assert new.problem()[1:] == (1, 32, "the parts of this record have 12 bytes together, expected at most 10")


def test_a_broken_frame_stays_broken_until_the_next_source():
    new, events = started(b"nonsense")
    assert events == [_decode.BAD_FRAME]
    assert new.advance() == new.end() == _decode.BAD_FRAME
    new.begin()
    new.feed(wire.frame(wire.features([1.0], [3])))
    assert (new.advance(), new.end(), new.n_rows) == (_decode.CHUNK_DONE, _decode.CHUNK_DONE, 1)


def test_memory_is_bounded_by_the_bytes_that_arrived_not_by_those_declared():
    declared = wire.MAGIC + b"\xff\xff\xff\x1f"
    gc.collect()
    before = _resident()
    new, _ = started(declared, *[bytes(1 << 16)] * 16)
    assert _resident() - before < 16 << 20
    assert new.end() == _decode.BAD_FRAME


def _resident():
    with open("/proc/self/statm") as file:  # noqa: PTH123 (a path that is no file of ours)
        return int(file.read().split()[1]) * 4096


def test_arrays_of_a_batch_are_its_own():
    new, _ = started(wire.frame(wire.features([1.0], [3])))
    values, _, keys, _, _ = new.take()
    new.feed(wire.frame(wire.features([2.0], [4])))
    new.advance()
    assert (values.tolist(), keys.tolist()) == ([1.0], [3])


def test_arrays_grow_with_the_rows():
    rng = np.random.default_rng(0)
    rows = [np.sort(rng.choice(5000, size=size, replace=False)) for size in [0, 1, 4000, *rng.integers(0, 50, 3000)]]
    body = b"".join(wire.frame(wire.features(row / 2, row)) for row in rows)
    new, _ = started(body, feature_dim=5000, batch_size=10_000)
    values, indptr, keys, labels, weights = new.take()
    assert labels is None
    assert weights is None
    np.testing.assert_array_equal(keys, np.concatenate(rows))
    np.testing.assert_array_equal(values, np.concatenate(rows) / 2)
    np.testing.assert_array_equal(np.diff(indptr), [len(row) for row in rows])


# Sorted keys of one to five bytes, in all neighbourhoods, as many as several words hold.
LONG_ROW = sorted({(1 << bits) + i for bits in range(0, 31, 2) for i in (0, 1, 1 << max(0, bits - 3))})
FEATURE_DIM = (1 << 31) - 1


def packed(*keys, width=1):
    return b"".join(wire.varint(key, width) for key in keys)


# What stands in the place of a key, and of the one behind it.
CHANGES = {
    "nothing": lambda key, after, top: packed(key, *after),
    "swapped": lambda key, after, top: packed(*after, key),
    "repeated": lambda key, after, top: packed(key, *[key for _ in after]),
    "feature_dim": lambda key, after, top: packed(top, *after),
    "28 bits": lambda key, after, top: packed((1 << 28) - 1, *after),
    "32 bits": lambda key, after, top: packed(key | 1 << 32, *after),
    "64 bits": lambda key, after, top: packed(key | 1 << 63, *after),
    "wide": lambda key, after, top: packed(key, width=10) + packed(*after),
    "too wide": lambda key, after, top: packed(key, width=11) + packed(*after),
}


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_keys_are_read_alike_wherever_in_a_long_row_they_stand(change, first):
    keys = LONG_ROW[first:]
    for feature_dim in (FEATURE_DIM, 1 << 20):
        below = [key for key in keys if key < feature_dim]
        for i in range(len(below)):
            changed = change(below[i], below[i + 1 : i + 2], feature_dim)
            content = packed(*below[:i]) + changed + packed(*below[i + 2 :])
            tensor = wire.field(1, wire.numbers(wire.FLOAT32, range(len(below)))) + wire.field(2, content)
            body = wire.frame(wire.field(1, wire.entry(wire.value(tensor))))
            assert compiled([body], feature_dim, "none") == plain([body], feature_dim, "none")


@pytest.mark.parametrize("width", range(1, 6))
def test_keys_of_one_length_are_read_alike_in_any_number(width):
    least = 0 if width == 1 else 1 << (7 * width - 7)
    for count in (*range(1, 40), 63, 64, 65, 127, 128):
        keys = range(least, least + count)
        body = wire.frame(wire.features([float(i) for i in range(count)], keys))
        outcome = compiled([body], FEATURE_DIM, "none")
        assert outcome == plain([body], FEATURE_DIM, "none")
        assert outcome.rows[0][0] == list(keys)
        # what ends the message in the midst of the last key
        cut = packed(*keys)[:-1] + b"\x80"
        tensor = wire.field(1, wire.numbers(wire.FLOAT32, range(count))) + wire.field(2, cut)
        body = wire.frame(wire.field(1, wire.entry(wire.value(tensor))))
        assert compiled([body], FEATURE_DIM, "none") == plain([body], FEATURE_DIM, "none")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instructions are those of x86-64")
def test_the_processor_is_asked_for_its_instructions(processor):
    assert _decode.use_vbmi2(True) == ({"avx512_vbmi2", "avx512vbmi", "avx512bw", "avx512vl", "bmi2"} <= processor)
    assert not _decode.use_vbmi2(False)
    assert _decode.use_vbmi2(True) == ("avx512_vbmi2" in processor)


@pytest.mark.skipif(sys.platform != "linux", reason="protects a page as Linux does")
@pytest.mark.parametrize("wanted", [False, True], ids=["plain", "vbmi2"])
def test_no_byte_behind_a_record_is_read(wanted):
    """The page behind it may not be read: a decoder that does ends the process."""
    if _decode.use_vbmi2(wanted) != wanted:
        pytest.skip("this processor has no AVX-512 VBMI2")
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    second = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + page
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(second), ctypes.c_size_t(page), 0) == 0
    try:
        for count in range(1, 70):
            keys = wire.field(2, packed(*range(200, 200 + count)))
            values = wire.field(1, wire.numbers(wire.FLOAT32, range(count)))
            for tensor in (values + keys, keys + values):
                payload = wire.field(1, wire.entry(wire.value(tensor)))
                start = page - 8 - len(payload)
                memory[start:page] = wire.frame(payload)[: page - start]  # without the padding
                new, _ = started(memoryview(memory)[start:page], feature_dim=1000)
                assert new.n_rows == 1
    finally:
        _decode.use_vbmi2(True)


@pytest.mark.parametrize("member", [wire.FLOAT32, wire.FLOAT64])
@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_a_value_that_is_not_finite_is_seen_wherever_it_stands(member, bad):
    for i in range(37):
        values = [float(v) for v in range(37)]
        values[i] = bad
        for keys in ((), range(37)):
            body = wire.frame(wire.features(values, keys, member=member))
            assert f"the value of key {i} is {bad}" in compiled([body], 37, "none").sentence


def test_the_largest_feature_dim_is_what_int32_keys_allow():
    top = (1 << 31) - 1
    new, _ = started(wire.frame(wire.features([1.0, 2.0], [0, top])), feature_dim=1 << 31)
    assert new.take()[2].tolist() == [0, top]
    for feature_dim in (0, (1 << 31) + 1):
        with pytest.raises(ValueError, match=f"feature_dim is {feature_dim}"):
            decoder(feature_dim=feature_dim)


@pytest.mark.parametrize("is_dense", [None, True])
def test_only_who_expects_sparse_rows_may_have_dense_ones_made_sparse(is_dense):
    with pytest.raises(ValueError, match=f"is_dense is {is_dense}, expected False with dense_as_sparse"):
        decoder(is_dense=is_dense, dense_as_sparse=True)


def test_a_chunk_is_let_go_when_it_is_done():
    buffer = bytearray(wire.frame(wire.features([1.0], [3])))
    new, _ = started(buffer)
    buffer.append(0)  # BufferError if the decoder still holds it
    del new


def test_a_chunk_is_not_taken_before_the_last_is_done():
    new = decoder()
    new.feed(b"abc")
    with pytest.raises(ValueError, match="has not been read to its end"):
        new.feed(b"abc")


def test_the_gil_is_free_while_a_chunk_is_decoded():
    # Several tries, since a busy machine may keep this thread from running for another reason.
    assert any(ticks_while_decoding() >= 5 for _ in range(10))


def ticks_while_decoding():
    """How often this thread gets its turn while another decodes one long record."""
    width = 8_000_000
    body = wire.frame(wire.field(1, wire.entry(wire.value(wire.field(1, b"\x01" * width), wire.INT32))))
    done = threading.Event()

    def decode():
        new, _ = started(body, feature_dim=width)
        assert new.n_rows == 1
        done.set()

    thread = threading.Thread(target=decode)
    ticks = 0
    thread.start()
    while not done.wait(0.001):
        ticks += 1
    thread.join()
    return ticks


def test_no_python_object_is_made_for_a_record():
    body = wire.frame(wire.features([1.0] * 10, range(10)) + wire.label(1.0)) * 10_000
    new = decoder(labels="real", batch_size=10_000)
    new.begin()
    new.feed(body)
    tracemalloc.start()
    new.advance()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The arrays themselves (numpy tells tracemalloc of them): 8 bytes a value, a copy while one grows.
    assert peak < 10_000 * 10 * 8 * 3.5
