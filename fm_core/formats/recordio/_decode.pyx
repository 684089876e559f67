"""Framed records to rows in one pass over each chunk, straight into a batch's arrays.

The fast twin of `framing` and `payload`, which say what is accepted. `Decoder` is fed
chunks and is advanced from event to event; between events no Python object is made and
the GIL is not held. Plan:

a) `_locate` finds the next payload. It lies in the chunk itself, so nothing is copied,
   unless the record crosses a border of chunks (`tail`) or is split into parts (`parts`).
b) `parse_record` walks over the protobuf message and writes values and keys behind the
   rows that are there already. It stores no more than there is room for, but counts
   everything: if the room did not suffice, the caller makes room and the record is
   parsed again. Malformed protobuf is refused here.
c) `_finish_row` checks the row against the data set and makes it part of the batch. All
   checks of meaning wait until here, since a later entry of the message may replace an
   earlier one.

What reads the message is `_message.pxi`, what finds it and keeps the rows is here.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

import numpy as np

from fm_core.formats.recordio.faults import describe

__all__ = ["BAD_FRAME", "BAD_RECORD", "BATCH_FULL", "CHUNK_DONE", "RECORD_TEXTS", "Decoder", "faults", "use_vbmi2"]

cdef enum Event:
    EV_CHUNK_DONE = 0
    EV_BATCH_FULL = 1
    EV_BAD_RECORD = 2
    EV_BAD_FRAME = 3
    EV_RECORD_TEXTS = 4
    # Dealt with inside:
    EV_NO_ROOM = 5
    EV_NO_MEMORY = 6

# What `advance` stopped at.
CHUNK_DONE = EV_CHUNK_DONE
BATCH_FULL = EV_BATCH_FULL
BAD_RECORD = EV_BAD_RECORD
BAD_FRAME = EV_BAD_FRAME
RECORD_TEXTS = EV_RECORD_TEXTS

cdef enum Labels:
    NO_LABELS = 0
    REAL_LABELS = 1
    BINARY_LABELS = 2

cdef enum Kind:
    UNKNOWN = -1
    SPARSE = 0
    DENSE = 1

cdef uint32_t MAGIC = 0xCED7230A
cdef uint32_t MAX_PART_BYTES = (1 << 29) - 1

include "_message.pxi"


cdef class Decoder:
    """Decode chunks of framed records into the arrays of batches.

    Use: `begin` for each source, `feed` for each of its chunks, then `advance` until it
    says CHUNK_DONE; after the last chunk of a source, `end`. `take` gives the rows that
    are there, at any time.

    Parameters
    ----------
    feature_dim : int
        At most 2**31; keys are stored as int32.
    batch_size : int
        `advance` stops when so many rows are there.
    labels : {"binary", "real", "none"}
    is_dense : bool, optional
        What every record has to be; None: what the first good one is.
    dense_as_sparse : bool
        With ``is_dense=False``: dense records are welcome, and become sparse rows.
    with_texts : bool
        Whether `advance` stops after each row whose record has a uid or metadata.
    max_record_bytes : int
    first_room : int
        Values that the first batch's arrays have room for at first; they grow as is needed.

    Attributes
    ----------
    n_rows : int
        Rows that wait for `take`.
    is_dense : bool or None
    uid, metadata : bytes or None
        Of the last row, after RECORD_TEXTS.
    """

    cdef readonly object uid, metadata
    cdef object _values, _keys, _indptr, _labels, _weights
    cdef Py_buffer _chunk
    cdef bint _has_chunk
    cdef int _kind
    cdef int _labels_wanted
    cdef bint _dense_as_sparse, _with_texts, _broken
    cdef int64_t _batch_size, _max_record_bytes
    # The source: where reading goes on in the chunk, and in all.
    cdef int64_t _at
    cdef int64_t _offset
    cdef int64_t _record
    cdef int64_t _record_offset
    cdef int64_t _padding
    cdef Bytes _tail
    cdef Bytes _parts
    cdef Bytes _scratch
    cdef bint _in_parts, _has_payload
    cdef Payload _payload
    cdef int64_t _fault_record, _fault_offset
    # The batch.
    cdef readonly int64_t n_rows
    cdef int64_t _n_values, _values_room, _keys_room, _rows_room
    cdef int64_t _values_needed, _keys_needed
    cdef uint32_t* _value_bits
    cdef int32_t* _key_data
    cdef int64_t* _indptr_data
    cdef uint32_t* _label_bits
    cdef Tensor _features, _label, _weight
    cdef uint32_t _label_room, _weight_room
    cdef bint _has_weights   # of the batch
    cdef float* _weight_data

    def __cinit__(
        self, *, feature_dim, batch_size, labels, is_dense=None, dense_as_sparse=False, with_texts=False,
        max_record_bytes=(1 << 31) - 1, first_room=1024,
    ):
        if not 0 < feature_dim <= 1 << 31:
            raise ValueError(f"feature_dim is {feature_dim}, expected 1 to 2**31, since keys are stored as int32")
        if not isinstance(batch_size, int) or batch_size > 1 << 62:
            raise ValueError(f"batch_size is {batch_size}, expected an integer of 1 to 2**62")
        if labels not in ("none", "real", "binary"):
            raise ValueError(f"labels is {labels!r}, expected none, real or binary")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
        if dense_as_sparse and is_dense is not False:
            raise ValueError(f"is_dense is {is_dense}, expected False with dense_as_sparse")
        self._labels_wanted = {"none": NO_LABELS, "real": REAL_LABELS, "binary": BINARY_LABELS}[labels]
        self._kind = UNKNOWN if is_dense is None else DENSE if is_dense else SPARSE
        self._dense_as_sparse = dense_as_sparse
        self._with_texts = with_texts
        self._batch_size = batch_size
        self._max_record_bytes = max_record_bytes
        self._features.feature_dim = feature_dim
        self._label.feature_dim = 0
        self._label.values = &self._label_room
        self._label.values_room = 1
        self._label.keys_room = 0
        self._weight.feature_dim = 0
        self._weight.values = &self._weight_room
        self._weight.values_room = 1
        self._weight.keys_room = 0
        self._values_needed = self._keys_needed = max(first_room, 1024)
        self._new_batch()

    def __dealloc__(self):
        if self._has_chunk:
            PyBuffer_Release(&self._chunk)
        free(self._tail.data)
        free(self._parts.data)
        free(self._scratch.data)

    @property
    def is_dense(self):
        return None if self._kind == UNKNOWN else self._kind == DENSE

    def begin(self):
        """Start reading a source: records and bytes are counted from 0."""
        self._release()
        self._at = self._offset = self._record = self._record_offset = self._padding = 0
        self._tail.size = self._parts.size = 0
        self._in_parts = self._has_payload = self._broken = False

    def feed(self, chunk):
        """Take the next chunk; it is held, and must not change, until `advance` says CHUNK_DONE.

        Parameters
        ----------
        chunk : bytes-like
        """
        if self._has_chunk:
            raise ValueError("the chunk before has not been read to its end")
        PyObject_GetBuffer(chunk, &self._chunk, PyBUF_SIMPLE)
        self._has_chunk = True
        self._at = 0

    def advance(self):
        """Read on until something has to be dealt with.

        Returns
        -------
        event : int
            CHUNK_DONE, BATCH_FULL (`take` it), BAD_RECORD (see `problem`; it has been
            skipped), BAD_FRAME (see `problem`; this source cannot be read on) or
            RECORD_TEXTS (see `uid` and `metadata`).
        """
        cdef int event
        while True:
            with nogil:
                event = self._advance()
            if event == EV_NO_ROOM:
                self._make_room()
            elif event == EV_NO_MEMORY:
                raise MemoryError
            else:
                break
        if event == EV_CHUNK_DONE:
            self._release()
        elif event == EV_RECORD_TEXTS:
            self.uid = text_of(self._payload.uid)
            self.metadata = text_of(self._payload.metadata)
        return event

    def end(self):
        """Say that the source has ended: CHUNK_DONE, or BAD_FRAME if it did so inside a record."""
        if not self._broken and (self._tail.size or self._in_parts):
            self._broken = True
            self._payload.problem.a = self._tail.size
            self._payload.problem.b = 8
            if self._tail.size >= 8:
                self._payload.problem.b += load32(self._tail.data + 4) & MAX_PART_BYTES
            self._payload.problem.fault = CUT
            self._fault_record = self._record
            self._fault_offset = self._offset
        return BAD_FRAME if self._broken else CHUNK_DONE

    def problem(self):
        """What was found last: the fault, the record's number, the byte of its frame, and a sentence."""
        cdef Problem* problem = &self._payload.problem
        return (
            problem.fault,
            self._fault_record,
            self._fault_offset,
            describe(problem.fault, problem.a, problem.b, problem.x),
        )

    def take(self):
        """Return the rows that are there and start a new batch.

        Returns
        -------
        values : ndarray of float32, shape (n_rows, feature_dim) if dense, else (nnz,)
        indptr : ndarray of int64, shape (n_rows + 1,), or None if dense
        indices : ndarray of int32, shape (nnz,), or None if dense
        labels, weights : ndarray of float32, shape (n_rows,), or None
            Weights where a record of these has one; others count once.
        """
        n = self.n_rows
        values = self._values[:self._n_values]
        labels = None if self._labels_wanted == NO_LABELS else self._labels[:n]
        weights = self._weights[:n] if self._has_weights else None
        if self._kind == DENSE:
            batch = values.reshape(n, self._features.feature_dim), None, None, labels, weights
        else:
            batch = values, self._indptr[:n + 1], self._keys[:self._n_values], labels, weights
        # The next batch is likely to be as large as this one, or a little larger.
        self._values_needed = self._n_values + (self._n_values >> 4) + 1
        self._keys_needed = 1 if self._kind == DENSE else self._values_needed + 64
        self._new_batch()
        return batch

    cdef _release(self):
        if self._has_chunk:
            self._has_chunk = False
            PyBuffer_Release(&self._chunk)

    cdef _new_batch(self):
        self.n_rows = self._n_values = 0
        self._values_room = self._keys_room = self._rows_room = 0
        self._values = self._keys = self._indptr = self._labels = self._weights = None
        self._has_weights = False
        self._make_room()

    cdef _make_room(self):
        """Grow whatever array is too small, at least to twice its size."""
        cdef float[::1] values, labels, weights
        cdef int32_t[::1] keys
        cdef int64_t[::1] indptr
        if self._values_needed > self._values_room:
            self._values_room = max(self._values_needed, 2 * self._values_room)
            self._values = grown(self._values, self._n_values, self._values_room, np.float32)
            values = self._values
            self._value_bits = <uint32_t*>&values[0]
        if self._keys_needed > self._keys_room:
            self._keys_room = max(self._keys_needed, 2 * self._keys_room)
            self._keys = grown(self._keys, self._n_values, self._keys_room, np.int32)
            keys = self._keys
            self._key_data = &keys[0]
        if self.n_rows == self._rows_room:
            rows = min(self._batch_size, max(1024, 2 * self._rows_room))
            self._indptr = grown(self._indptr, self.n_rows + 1, rows + 1, np.int64)
            self._labels = grown(self._labels, self.n_rows, rows, np.float32)
            if self._labels_wanted != NO_LABELS:
                self._weights = grown(self._weights, self.n_rows, rows, np.float32)
                weights = self._weights
                self._weight_data = &weights[0]
            self._rows_room = rows
            indptr = self._indptr
            labels = self._labels
            self._indptr_data = &indptr[0]
            self._indptr_data[self.n_rows] = self._n_values
            self._label_bits = <uint32_t*>&labels[0]

    cdef int _advance(self) noexcept nogil:
        cdef int event
        while True:
            if self.n_rows == self._batch_size:
                return EV_BATCH_FULL
            if self.n_rows == self._rows_room:
                return EV_NO_ROOM
            if not self._has_payload:
                event = self._locate()
                if not self._has_payload:
                    return event
            event = self._decode()
            if event == EV_NO_ROOM or event == EV_NO_MEMORY:
                return event
            self._has_payload = False
            if event == EV_BAD_RECORD:
                self._fault_record = self._record
                self._fault_offset = self._record_offset
            self._record += 1
            if event:
                return event

    cdef int _locate(self) noexcept nogil:
        """Find the payload of the next record, if all of it is there."""
        cdef const uint8_t* chunk = <const uint8_t*>self._chunk.buf
        cdef int64_t left, wanted, step
        cdef const uint8_t* frame
        cdef uint32_t word
        cdef int flag, fault
        if self._broken:
            return EV_BAD_FRAME
        if not self._has_chunk:
            return EV_CHUNK_DONE
        while True:
            left = self._chunk.len - self._at
            step = min(self._padding, left)
            self._padding -= step
            self._at += step
            self._offset += step
            left -= step
            if self._padding:
                return EV_CHUNK_DONE
            wanted = 8
            while True:
                # Twice at most: for the header, then for the payload.
                if self._tail.size:
                    step = min(left, wanted - self._tail.size)
                    if step > 0:
                        if not append(&self._tail, chunk + self._at, step):
                            return EV_NO_MEMORY
                        self._at += step
                        left -= step
                    if self._tail.size < wanted:
                        return EV_CHUNK_DONE
                    frame = self._tail.data
                else:
                    if left < wanted:
                        if not append(&self._tail, chunk + self._at, left):
                            return EV_NO_MEMORY
                        self._at += left
                        return EV_CHUNK_DONE
                    frame = chunk + self._at
                if wanted > 8:
                    break
                fault = 0
                word = load32(frame + 4)
                flag = word >> 29
                self._payload.problem.a = flag
                if load32(frame) != MAGIC:
                    fault = MAGIC_WRONG
                    self._payload.problem.a = load32(frame)
                elif self._in_parts and flag != 2 and flag != 3:
                    fault = PART_MISSING
                elif not self._in_parts and flag != 0 and flag != 1:
                    fault = PART_WITHOUT_FIRST
                if fault:
                    return self._break(fault)
                wanted = 8 + (word & MAX_PART_BYTES)
                if wanted == 8:
                    break
            if self._tail.size:
                self._tail.size = 0
            else:
                self._at += wanted
            if not self._in_parts:
                self._record_offset = self._offset
            self._payload.start = frame + 8
            self._payload.end = frame + wanted
            if self._in_parts or flag == 1:
                if self._in_parts and not append(&self._parts, &MAGIC, 4):
                    return EV_NO_MEMORY
                if not append(&self._parts, frame + 8, wanted - 8):
                    return EV_NO_MEMORY
                self._payload.start = self._parts.data
                self._payload.end = self._parts.data + self._parts.size
                self._in_parts = flag != 3
            if self._payload.end - self._payload.start > self._max_record_bytes:
                self._payload.problem.a = self._payload.end - self._payload.start
                self._payload.problem.b = self._max_record_bytes
                return self._break(RECORD_LONG)
            self._offset += wanted
            self._padding = -wanted & 3
            if not self._in_parts:
                self._parts.size = 0
                self._has_payload = True
                return EV_CHUNK_DONE

    cdef int _break(self, int fault) noexcept nogil:
        self._broken = True
        self._payload.problem.fault = fault
        self._fault_record = self._record
        self._fault_offset = self._offset
        return EV_BAD_FRAME

    cdef int _decode(self) noexcept nogil:
        """Make a row of the payload: 0, or the event to stop at."""
        cdef Tensor* features = &self._features
        features.values = self._value_bits + self._n_values
        features.values_room = self._values_room - self._n_values
        features.keys = self._key_data + self._n_values
        features.keys_room = self._keys_room - self._n_values
        if self._kind == DENSE or features.keys_room < 0:
            features.keys_room = 0
        if not parse_record(
            &self._payload, features, &self._label, &self._weight, self._labels_wanted != NO_LABELS
        ):
            return EV_BAD_RECORD
        if features.n_values > features.values_room:
            self._values_needed = self._n_values + features.n_values
            return EV_NO_ROOM
        return self._finish_row()

    cdef int _bad(self, int fault, uint64_t a, uint64_t b, double x) noexcept nogil:
        self._payload.problem.fault = fault
        self._payload.problem.a = a
        self._payload.problem.b = b
        self._payload.problem.x = x
        return EV_BAD_RECORD

    cdef int _finish_row(self) noexcept nogil:
        cdef Tensor* row = &self._features
        cdef int64_t i
        cdef int event
        cdef bint dense
        if row.member == OPAQUE:
            return self._bad(NOT_A_TENSOR, 0, 0, 0)
        # The all-zero row of a sparse matrix has a shape at most, and neither keys nor values.
        dense = row.n_keys == 0 and row.n_values > 0 and (row.n_shape == 0 or <uint64_t>row.n_values >= row.width)
        if not dense and row.n_keys != row.n_values:
            return self._bad(KEYS, row.n_keys, row.n_values, 0)
        if self._kind == DENSE and not dense:
            return self._bad(NOT_DENSE, row.n_keys, 0, 0)
        if self._kind == SPARSE and dense and not self._dense_as_sparse:
            return self._bad(NOT_SPARSE, row.n_values, 0, 0)
        if row.n_shape and row.width != row.feature_dim:
            return self._bad(SHAPE, row.width, row.feature_dim, 0)
        if dense and <uint64_t>row.n_values != row.feature_dim:
            return self._bad(WIDTH, row.n_values, row.feature_dim, 0)
        if row.key_outside:
            return self._bad(KEY, row.outside, row.feature_dim, 0)
        if row.n_keys > row.keys_room or (dense and self._dense_as_sparse and row.n_values > row.keys_room):
            self._keys_needed = self._n_values + row.n_values
            return EV_NO_ROOM
        if row.overflow >> 31:
            for i in range(row.n_values):
                if overflow_of(row.values[i]) >> 31:
                    return self._bad(VALUE, i if dense else row.keys[i], 0, float_of(row.values[i]))
        if row.unordered:
            event = sum_repeated(row, &self._scratch, &self._payload.problem)
            if event:
                return event
        if self._labels_wanted != NO_LABELS:
            event = self._finish_label()
            if event:
                return event
        if self._kind == UNKNOWN:
            self._kind = DENSE if dense else SPARSE
        elif dense and self._dense_as_sparse:
            for i in range(row.n_values):
                row.keys[i] = <int32_t>i
        self._n_values += row.n_values
        self.n_rows += 1
        self._indptr_data[self.n_rows] = self._n_values
        if self._with_texts and (self._payload.uid.start != NULL or self._payload.metadata.start != NULL):
            return EV_RECORD_TEXTS
        return 0

    cdef int _finish_label(self) noexcept nogil:
        cdef float label = float_of(self._label_room)
        cdef float weight
        cdef int64_t i
        if self._label.n_values == 0:
            return self._bad(LABEL_MISSING, 0, 0, 0)
        if self._label.n_values > 1:
            return self._bad(LABEL_MANY, self._label.n_values, 0, 0)
        if self._label.overflow >> 31:
            return self._bad(LABEL_VALUE, 0, 0, label)
        if self._labels_wanted == BINARY_LABELS and label != 0 and label != 1:
            return self._bad(LABEL_BINARY, 0, 0, label)
        self._label_bits[self.n_rows] = self._label_room
        if self._weight.n_values:
            weight = float_of(self._weight_room)
            if self._weight.n_values > 1:
                return self._bad(WEIGHT_MANY, self._weight.n_values, 0, 0)
            if self._weight.overflow >> 31 or weight < 0:
                return self._bad(WEIGHT_VALUE, 0, 0, weight)
            if not self._has_weights:
                self._has_weights = True
                for i in range(self.n_rows):
                    self._weight_data[i] = 1
            self._weight_data[self.n_rows] = weight
        elif self._has_weights:
            self._weight_data[self.n_rows] = 1
        return 0


cdef text_of(Slice text):
    return None if text.start == NULL else (<const char*>text.start)[:text.end - text.start]


cdef grown(array, size, room, dtype):
    """Make a larger array that begins with the first `size` elements of `array`."""
    larger = np.empty(room, dtype)
    if array is not None:
        larger[:size] = array[:size]
    return larger


def use_vbmi2(wanted):
    """Say whether the instructions of varints.h are used, where the processor has them: by default, yes.

    Parameters
    ----------
    wanted : bool

    Returns
    -------
    used : bool
    """
    global vbmi2
    vbmi2 = wanted and has_vbmi2()
    return bool(vbmi2)


def faults():
    """The numbers of this module's faults by name, to be compared with `faults.Fault`."""
    return {
        "MAGIC": MAGIC_WRONG, "PART_WITHOUT_FIRST": PART_WITHOUT_FIRST, "PART_MISSING": PART_MISSING, "CUT": CUT,
        "RECORD_LONG": RECORD_LONG, "VARINT_LONG": VARINT_LONG, "VARINT_CUT": VARINT_CUT, "LENGTH": LENGTH,
        "WIRE_TYPE": WIRE_TYPE, "FIELD_ZERO": FIELD_ZERO, "RAGGED": RAGGED, "NOT_A_TENSOR": NOT_A_TENSOR,
        "KEYS": KEYS, "NOT_DENSE": NOT_DENSE, "NOT_SPARSE": NOT_SPARSE, "SHAPE": SHAPE, "WIDTH": WIDTH, "KEY": KEY,
        "VALUE": VALUE, "LABEL_MISSING": LABEL_MISSING, "LABEL_MANY": LABEL_MANY, "LABEL_VALUE": LABEL_VALUE,
        "LABEL_BINARY": LABEL_BINARY, "WEIGHT_MANY": WEIGHT_MANY, "WEIGHT_VALUE": WEIGHT_VALUE,
    }  # fmt: skip
