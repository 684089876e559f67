"""The decoder's inner loop by itself, for millions of executions: no batch, no message, no generator.

Compiled together with `_decode` under the sanitizer. Each chunk lies in memory of exactly its
size, and the arrays of every other input have room for little at first, so that a read
or write one byte too far is seen. What the rows have to be is checked here, in C.
"""

include "../../fm_core/formats/recordio/_decode.pyx"

from libc.stdlib cimport malloc

LABELS = ("none", "real", "binary", "real")
KINDS = (None, None, False, True)
# Of sparse rows, so that keys have up to four bytes, and of others, which have to fit into an input.
SPARSE_DIM, OTHER_DIM = 1 << 22, 300
# One for each way to offer an input; see targets.py.
DECODERS = [
    Decoder(feature_dim=(10, SPARSE_DIM if how >> 3 & 3 == 2 else OTHER_DIM)[how >> 2 & 1], batch_size=3,
            labels=LABELS[how & 3], with_texts=how & 64,
            is_dense=KINDS[how >> 3 & 3], dense_as_sparse=KINDS[how >> 3 & 3] is False and how & 32)
    for how in range(128)
]  # fmt: skip


def core(bytes data):
    """Decode all but the last byte of an input as that byte says, one length in two with varints.h."""
    global vbmi2
    cdef const uint8_t* body = data
    cdef int64_t size = len(data) - 1
    cdef int how = body[size] if size >= 0 else 0
    cdef Decoder decoder = DECODERS[how & 127]
    cdef int64_t step = how >> 3
    cdef int64_t at = 0
    cdef int64_t n
    cdef uint8_t* piece
    cdef int event = EV_CHUNK_DONE
    vbmi2 = size & 1 and has_vbmi2()
    decoder._kind = UNKNOWN if how & 16 == 0 else SPARSE if how & 8 == 0 else DENSE
    if how & 128:
        decoder._values_needed = 1 + size % 7
        decoder._keys_needed = 1 + size % 23
        decoder._new_batch()
    else:
        decoder.n_rows = decoder._n_values = 0
    decoder.begin()
    while at < size and event != EV_BAD_FRAME:
        n = min(step, size - at) if step else size
        piece = <uint8_t*>malloc(n)
        memcpy(piece, body + at, n)
        at += n
        decoder._chunk.buf = piece
        decoder._chunk.len = n
        decoder._has_chunk = True
        decoder._at = 0
        while True:
            with nogil:
                event = decoder._advance()
            if event == EV_NO_ROOM:
                decoder._make_room()
            elif event == EV_BATCH_FULL:
                check(decoder)
                decoder.n_rows = decoder._n_values = 0
            elif event == EV_RECORD_TEXTS:
                touch(decoder._payload.uid)
                touch(decoder._payload.metadata)
            elif event == EV_BAD_RECORD:
                assert 0 < decoder._payload.problem.fault <= WEIGHT_VALUE
            else:
                break
        decoder._has_chunk = False
        free(piece)
        assert event == EV_CHUNK_DONE or event == EV_BAD_FRAME, event
    decoder.end()
    check(decoder)


cdef int check(Decoder decoder) except -1:
    """What Batch promises."""
    cdef int64_t i, j, stop, start = 0
    cdef int64_t width = decoder._features.feature_dim
    assert 0 <= decoder.n_rows <= 3 and decoder._n_values <= decoder._values_room
    for i in range(decoder.n_rows):
        stop = decoder._indptr_data[i + 1]
        assert start <= stop <= decoder._n_values
        if decoder._kind == DENSE:
            assert stop - start == width
        for j in range(start, stop):
            assert not overflow_of(decoder._value_bits[j]) >> 31
            if decoder._kind == SPARSE:
                assert 0 <= decoder._key_data[j] < width
                assert j == start or decoder._key_data[j - 1] < decoder._key_data[j]
        if decoder._labels_wanted != NO_LABELS:
            assert not overflow_of(decoder._label_bits[i]) >> 31
        if decoder._labels_wanted == BINARY_LABELS:
            assert float_of(decoder._label_bits[i]) in (0, 1)
        if decoder._has_weights and decoder._labels_wanted != NO_LABELS:
            assert 0 <= decoder._weight_data[i] < float("inf")
        start = stop
    assert start == decoder._n_values
    return 0


cdef void touch(Slice text) noexcept:
    """Read every byte of it."""
    global touched
    cdef uint8_t total = 0
    cdef const uint8_t* p = text.start
    while p != text.end:
        total ^= p[0]
        p += 1
    touched = total


cdef uint8_t touched = 0
