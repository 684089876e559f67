"""Framed records to rows in one pass over each chunk, straight into a batch's arrays.

The fast twin of `recordio` and `records`, which say what is accepted. `Decoder` is fed
chunks and is advanced from event to event; between events no Python object is made and
the GIL is not held. Plan:

a) `_locate` finds the next payload. It lies in the chunk itself, so nothing is copied,
   unless the record crosses a border of chunks (`tail`) or is split into parts (`parts`).
b) `_parse_record` walks over the protobuf message and writes values and keys behind the
   rows that are there already. It stores no more than there is room for, but counts
   everything: if the room did not suffice, the caller makes room and the record is
   parsed again. Malformed protobuf is refused here.
c) `_finish_row` checks the row against the data set and makes it part of the batch. All
   checks of meaning wait until here, since a later entry of the message may replace an
   earlier one.

Each length is checked against the end of its message before it is used; each varint is
read within its message (eight bytes at a time only where its field has eight left; in
varints.h up to 64, of which those behind the field are masked).
Values are handled as their bits (uint32), little-endian, as every supported CPU is.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memcmp, memcpy

import numpy as np

from fm_core.formats.recordio.faults import describe

__all__ = ["BAD_FRAME", "BAD_RECORD", "BATCH_FULL", "CHUNK_DONE", "RECORD_TEXTS", "Decoder", "faults", "use_vbmi2"]

cdef extern from *:
    int __builtin_ctzll(unsigned long long) nogil

cdef extern from "varints.h" nogil:
    bint has_vbmi2()
    const uint8_t* avx512_keys(
        const uint8_t* p, const uint8_t* end, uint64_t feature_dim, int32_t* out, int64_t* n, int64_t* previous,
        bint* unordered,
    )
    bint avx512_floats(const uint8_t* p, int64_t n, uint32_t* out)

cdef bint vbmi2 = has_vbmi2()

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

# The numbers of faults.Fault.
cdef enum Fault:
    MAGIC_WRONG = 1
    PART_WITHOUT_FIRST = 2
    PART_MISSING = 3
    CUT = 4
    RECORD_LONG = 5
    VARINT_LONG = 6
    VARINT_CUT = 7
    LENGTH = 8
    WIRE_TYPE = 9
    FIELD_ZERO = 10
    RAGGED = 11
    NOT_A_TENSOR = 12
    KEYS = 13
    NOT_DENSE = 14
    NOT_SPARSE = 15
    SHAPE = 16
    WIDTH = 17
    KEY = 18
    VALUE = 19
    LABEL_MISSING = 20
    LABEL_MANY = 21
    LABEL_VALUE = 22
    LABEL_BINARY = 23

cdef enum Member:
    FLOAT32 = 2
    FLOAT64 = 3
    INT32 = 7
    OPAQUE = 9

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
cdef uint32_t EXPONENT = 0x7F800000
cdef uint64_t UINT64_MAX = 0xFFFFFFFFFFFFFFFF
# Insertion sort below this many keys, qsort above.
cdef int64_t FEW = 48

cdef struct Problem:
    int fault
    uint64_t a
    uint64_t b
    double x

cdef struct Slice:
    const uint8_t* start
    const uint8_t* end

cdef struct Tensor:
    int member                # field number in Value; 0: nothing was set
    int64_t n_values
    int64_t n_keys
    int64_t n_shape
    uint64_t width            # product of the shape, saturated
    int64_t previous          # the last key
    bint unordered            # keys do not strictly increase
    bint key_outside
    uint64_t outside          # the first key that is not below feature_dim
    uint32_t overflow         # bit 31: a value is not finite
    # Where it is stored, as much as there is room for:
    uint32_t* values
    int64_t values_room
    int32_t* keys
    int64_t keys_room
    uint64_t feature_dim

cdef struct Payload:
    const uint8_t* start
    const uint8_t* end
    Problem problem
    Slice uid
    Slice metadata


cdef inline uint64_t load64(const uint8_t* p) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, p, 8)
    return word


cdef inline uint32_t load32(const uint8_t* p) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, p, 4)
    return word


cdef inline uint32_t bits_of(float value) noexcept nogil:
    cdef uint32_t bits
    memcpy(&bits, &value, 4)
    return bits


cdef inline float float_of(uint32_t bits) noexcept nogil:
    cdef float value
    memcpy(&value, &bits, 4)
    return value


cdef inline uint32_t overflow_of(uint32_t bits) noexcept nogil:
    """Bit 31 is set if the exponent is all ones: infinity or NaN."""
    return (bits & 0x7FFFFFFF) + 0x00800000


cdef bint refuse(Payload* payload, int fault, const uint8_t* at, uint64_t b) noexcept nogil:
    payload.problem.fault = fault
    payload.problem.a = at - payload.start
    payload.problem.b = b
    payload.problem.x = 0
    return False


cdef const uint8_t* read_varint(
    Payload* payload, const uint8_t* p, const uint8_t* end, int bits, uint64_t* value
) noexcept nogil:
    """Read a varint of at most `bits` bits, byte by byte; NULL if it is refused."""
    cdef const uint8_t* start = p
    cdef uint64_t result = 0
    cdef uint64_t byte
    cdef int shift = 0
    while shift < bits:
        if p == end:
            refuse(payload, VARINT_CUT, start, 0)
            return NULL
        byte = p[0]
        p += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            # The last byte of the longest varint has bits to spare (4 of 32, 1 of 64).
            if shift + 7 > bits and byte >> (bits - shift):
                break
            value[0] = result
            return p
        shift += 7
    refuse(payload, VARINT_LONG, start, 0)
    return NULL


cdef inline const uint8_t* read_short(
    Payload* payload, const uint8_t* p, const uint8_t* end, uint64_t* value
) noexcept nogil:
    """Read a tag or length: mostly one or two bytes."""
    if end - p >= 2:
        if p[0] < 0x80:
            value[0] = p[0]
            return p + 1
        if p[1] < 0x80:
            value[0] = (p[0] & 0x7F) | (<uint64_t>p[1] << 7)
            return p + 2
    return read_varint(payload, p, end, 32, value)


cdef struct Field:
    uint64_t number
    int wire_type
    const uint8_t* start      # of the content, behind tag and length
    const uint8_t* end


cdef inline bint next_field(
    Payload* payload, const uint8_t* begin, const uint8_t* end, Field* field
) noexcept nogil:
    """Read the field that begins at `begin`; False if it is refused."""
    cdef uint64_t tag, size
    cdef const uint8_t* p = read_short(payload, begin, end, &tag)
    if p == NULL:
        return False
    field.number = tag >> 3
    field.wire_type = tag & 7
    if field.number == 0:
        return refuse(payload, FIELD_ZERO, begin, 0)
    if field.wire_type == 2:
        p = read_short(payload, p, end, &size)
        if p == NULL:
            return False
        if size > <uint64_t>(end - p):
            return refuse(payload, LENGTH, begin, size)
        field.start = p
        field.end = p + size
        return True
    field.start = p
    if field.wire_type == 0:
        p = read_varint(payload, p, end, 64, &size)
        if p == NULL:
            return False
        field.end = p
        return True
    if field.wire_type == 5:
        size = 4
    elif field.wire_type == 1:
        size = 8
    else:
        return refuse(payload, WIRE_TYPE, begin, field.wire_type)
    if size > <uint64_t>(end - p):
        return refuse(payload, LENGTH, begin, size)
    field.end = p + size
    return True


cdef void clear(Tensor* tensor, int member) noexcept nogil:
    tensor.member = member
    tensor.n_values = tensor.n_keys = tensor.n_shape = 0
    tensor.width = 1
    tensor.previous = -1
    tensor.unordered = tensor.key_outside = False
    tensor.outside = 0
    tensor.overflow = 0


cdef inline void add_value(Tensor* tensor, uint32_t bits) noexcept nogil:
    if tensor.n_values < tensor.values_room:
        tensor.values[tensor.n_values] = bits
        tensor.overflow |= overflow_of(bits)
    tensor.n_values += 1


cdef inline void add_key(Tensor* tensor, uint64_t key) noexcept nogil:
    cdef bint outside = key >= tensor.feature_dim
    if outside:
        if not tensor.key_outside:
            tensor.outside = key
        tensor.key_outside = True
    elif tensor.n_keys < tensor.keys_room:
        tensor.keys[tensor.n_keys] = <int32_t>key
        tensor.unordered |= <int64_t>key <= tensor.previous
        tensor.previous = <int64_t>key
    tensor.n_keys += 1


cdef inline void add_size(Tensor* tensor, uint64_t size) noexcept nogil:
    if size != 0 and tensor.width > UINT64_MAX // size:
        tensor.width = UINT64_MAX
    else:
        tensor.width *= size
    tensor.n_shape += 1


cdef bint add_values(Payload* payload, Tensor* tensor, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Append numbers, packed or a single one, of the tensor's type."""
    cdef int64_t n, i
    cdef uint64_t word
    cdef double number
    cdef uint32_t overflow = 0
    cdef uint32_t* out
    if tensor.member == FLOAT32:
        if (end - p) & 3:
            return refuse(payload, RAGGED, p, end - p)
        n = (end - p) >> 2
        if tensor.n_values + n <= tensor.values_room:
            out = tensor.values + tensor.n_values
            if vbmi2:
                overflow = 0 if avx512_floats(p, n, out) else <uint32_t>1 << 31
            else:
                memcpy(out, p, n << 2)
                for i in range(n):
                    overflow |= overflow_of(out[i])
            tensor.overflow |= overflow
        tensor.n_values += n
    elif tensor.member == FLOAT64:
        if (end - p) & 7:
            return refuse(payload, RAGGED, p, end - p)
        while p < end:
            memcpy(&number, p, 8)
            add_value(tensor, bits_of(<float>number))
            p += 8
    else:
        while p < end:
            p = read_varint(payload, p, end, 64, &word)
            if p == NULL:
                return False
            add_value(tensor, bits_of(<float><int32_t>(<uint32_t>word)))
    return True


cdef inline uint64_t narrowed(uint64_t groups) noexcept nogil:
    """Pull the 7-bit groups of each half of a word together: bytes to one number of 28 bits."""
    groups &= <uint64_t>0x7F7F7F7F7F7F7F7F
    groups = (groups & <uint64_t>0x007F007F007F007F) | ((groups & <uint64_t>0x7F007F007F007F00) >> 1)
    return (groups & <uint64_t>0x00003FFF00003FFF) | ((groups & <uint64_t>0x3FFF00003FFF0000) >> 2)


cdef bint add_keys(Payload* payload, Tensor* tensor, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Append keys, packed or a single one."""
    cdef uint64_t key, word, stops, more, first_mask, both, feature_dim = tensor.feature_dim
    cdef int64_t n, low, high, previous = tensor.previous
    cdef bint unordered = tensor.unordered
    cdef int32_t* out
    cdef int shift
    # A key has at least a byte, so this much room is enough for all of them.
    if not tensor.key_outside and tensor.n_keys + (end - p) <= tensor.keys_room:
        out = tensor.keys + tensor.n_keys
        if vbmi2:
            p = avx512_keys(p, end, feature_dim, out, &n, &previous, &unordered)
            out += n
        # Two keys of at most four bytes each at a time: finding where a varint ends is a
        # chain of a dozen cycles from one to the next, and this way there are half as many.
        while end - p >= 8:
            word = load64(p)
            stops = ~word & <uint64_t>0x8080808080808080
            more = stops & (stops - 1)
            if more == 0:
                break
            shift = __builtin_ctzll(stops) + 1
            first_mask = stops ^ (stops - 1)
            key = word & first_mask
            word = (word & ~first_mask & (more ^ (more - 1))) >> shift
            if (key | word) >> 32:
                break
            both = narrowed(key | word << 32)
            low = both & <uint64_t>0xFFFFFFFF
            high = both >> 32
            if <uint64_t>low >= feature_dim or <uint64_t>high >= feature_dim:
                break
            out[0] = <int32_t>low
            out[1] = <int32_t>high
            out += 2
            unordered |= (low <= previous) | (high <= low)
            previous = high
            p += (__builtin_ctzll(more) + 1) >> 3
        tensor.n_keys = out - tensor.keys
        tensor.previous = previous
        tensor.unordered = unordered
    # What is left: the last few keys, or all from one that is long, or refused.
    while p < end:
        p = read_varint(payload, p, end, 64, &key)
        if p == NULL:
            return False
        add_key(tensor, key)
    return True


cdef bint add_shape(Payload* payload, Tensor* tensor, const uint8_t* p, const uint8_t* end) noexcept nogil:
    cdef uint64_t size
    while p < end:
        p = read_varint(payload, p, end, 64, &size)
        if p == NULL:
            return False
        add_size(tensor, size)
    return True


cdef bint parse_tensor(Payload* payload, Tensor* tensor, const uint8_t* p, const uint8_t* end) noexcept nogil:
    cdef Field field
    cdef int single = 5 if tensor.member == FLOAT32 else 1 if tensor.member == FLOAT64 else 0
    while p < end:
        if not next_field(payload, p, end, &field):
            return False
        if field.number == 1 and (field.wire_type == 2 or field.wire_type == single):
            if not add_values(payload, tensor, field.start, field.end):
                return False
        elif field.number == 2 and (field.wire_type == 2 or field.wire_type == 0):
            if not add_keys(payload, tensor, field.start, field.end):
                return False
        elif field.number == 3 and (field.wire_type == 2 or field.wire_type == 0):
            if not add_shape(payload, tensor, field.start, field.end):
                return False
        p = field.end
    return True


cdef bint parse_value(Payload* payload, Tensor* tensor, const uint8_t* p, const uint8_t* end) noexcept nogil:
    cdef Field field
    cdef int member
    while p < end:
        if not next_field(payload, p, end, &field):
            return False
        if field.wire_type == 2 and (
            field.number == FLOAT32 or field.number == FLOAT64 or field.number == INT32 or field.number == OPAQUE
        ):
            member = <int>field.number
            if member != tensor.member:
                clear(tensor, member)
            if member != OPAQUE and not parse_tensor(payload, tensor, field.start, field.end):
                return False
        p = field.end
    return True


cdef bint parse_entry(Payload* payload, Tensor* tensor, const uint8_t* start, const uint8_t* end) noexcept nogil:
    """Read an entry of a map; one with the key `values` replaces what `tensor` holds."""
    cdef Field field
    cdef const uint8_t* p = start
    cdef bint wanted = False
    cdef int n_values = 0
    cdef Slice value
    value.start = value.end = start
    while p < end:
        if not next_field(payload, p, end, &field):
            return False
        if field.wire_type == 2 and field.number == 1:
            wanted = field.end - field.start == 6 and memcmp(field.start, b"values", 6) == 0
        elif field.wire_type == 2 and field.number == 2:
            n_values += 1
            value.start = field.start
            value.end = field.end
        p = field.end
    if not wanted:
        return True
    clear(tensor, 0)
    if n_values == 1:
        return parse_value(payload, tensor, value.start, value.end)
    # Several values of one entry are merged. Its fields are known to be well-formed by now.
    p = start
    while p < end:
        next_field(payload, p, end, &field)
        if (
            field.wire_type == 2
            and field.number == 2
            and not parse_value(payload, tensor, field.start, field.end)
        ):
            return False
        p = field.end
    return True


cdef bint parse_record(Payload* payload, Tensor* features, Tensor* label, bint with_label) noexcept nogil:
    cdef Field field
    cdef const uint8_t* p = payload.start
    clear(features, 0)
    clear(label, 0)
    payload.uid.start = payload.uid.end = NULL
    payload.metadata.start = payload.metadata.end = NULL
    while p < payload.end:
        if not next_field(payload, p, payload.end, &field):
            return False
        if field.wire_type == 2:
            if field.number == 1:
                if not parse_entry(payload, features, field.start, field.end):
                    return False
            elif field.number == 2:
                if with_label and not parse_entry(payload, label, field.start, field.end):
                    return False
            elif field.number == 3:
                payload.uid.start = field.start
                payload.uid.end = field.end
            elif field.number == 4:
                payload.metadata.start = field.start
                payload.metadata.end = field.end
        p = field.end
    return True


cdef int compare(const void* left, const void* right) noexcept nogil:
    cdef uint64_t a = (<const uint64_t*>left)[0]
    cdef uint64_t b = (<const uint64_t*>right)[0]
    return (a > b) - (a < b)


cdef struct Bytes:
    uint8_t* data
    int64_t size
    int64_t room


cdef bint make_room(Bytes* buffer, int64_t size) noexcept nogil:
    """Let a buffer have room for `size` bytes, doubling; False if there is no memory."""
    cdef int64_t room = 4096 if buffer.room == 0 else buffer.room
    cdef void* data
    if size <= buffer.room:
        return True
    while room < size:
        room *= 2
    data = realloc(buffer.data, room)
    if data == NULL:
        return False
    buffer.data = <uint8_t*>data
    buffer.room = room
    return True


cdef bint append(Bytes* buffer, const void* data, int64_t size) noexcept nogil:
    if size == 0:
        return True
    if not make_room(buffer, buffer.size + size):
        return False
    memcpy(buffer.data + buffer.size, data, size)
    buffer.size += size
    return True


cdef int sum_repeated(Tensor* tensor, Bytes* scratch, Problem* problem) noexcept nogil:
    """Order the keys of a row and sum the values of repeated ones.

    Returns 0, or EV_NO_MEMORY, or EV_BAD_RECORD if a sum is not finite.
    """
    cdef int64_t n = tensor.n_keys
    cdef int64_t i, j, n_sums = 0
    cdef uint64_t item
    cdef uint64_t* items
    cdef uint32_t* values
    cdef double total
    cdef int32_t key
    if not make_room(scratch, n * 12):
        return EV_NO_MEMORY
    # The place in the record is the low half, which keeps the order of equal keys.
    items = <uint64_t*>scratch.data
    values = <uint32_t*>(scratch.data + 8 * n)
    for i in range(n):
        items[i] = <uint64_t>tensor.keys[i] << 32 | <uint64_t>i
    memcpy(values, tensor.values, 4 * n)
    if n < FEW:
        for i in range(1, n):
            item = items[i]
            j = i
            while j > 0 and items[j - 1] > item:
                items[j] = items[j - 1]
                j -= 1
            items[j] = item
    else:
        qsort(items, n, 8, compare)
    i = 0
    while i < n:
        key = <int32_t>(items[i] >> 32)
        total = float_of(values[<uint32_t>items[i]])
        i += 1
        while i < n and <int32_t>(items[i] >> 32) == key:
            total += float_of(values[<uint32_t>items[i]])
            i += 1
        tensor.keys[n_sums] = key
        tensor.values[n_sums] = bits_of(<float>total)
        if overflow_of(tensor.values[n_sums]) >> 31:
            problem.fault = VALUE
            problem.a = key
            problem.x = <float>total
            return EV_BAD_RECORD
        n_sums += 1
    tensor.n_keys = tensor.n_values = n_sums
    return 0


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
    cdef object _values, _keys, _indptr, _labels
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
    cdef Tensor _features, _label
    cdef uint32_t _label_room

    def __cinit__(
        self, *, feature_dim, batch_size, labels, is_dense=None, dense_as_sparse=False, with_texts=False,
        max_record_bytes=(1 << 31) - 1, first_room=1024,
    ):
        if not 0 < feature_dim <= 1 << 31:
            raise ValueError(f"feature_dim is {feature_dim}, expected 1 to 2**31, since keys are stored as int32")
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
        """Give the rows that are there and start a new batch.

        Returns
        -------
        values : ndarray of float32, shape (n_rows, feature_dim) if dense, else (nnz,)
        indptr : ndarray of int64, shape (n_rows + 1,), or None if dense
        indices : ndarray of int32, shape (nnz,), or None if dense
        labels : ndarray of float32, shape (n_rows,), or None
        """
        n = self.n_rows
        values = self._values[:self._n_values]
        labels = None if self._labels_wanted == NO_LABELS else self._labels[:n]
        if self._kind == DENSE:
            batch = values.reshape(n, self._features.feature_dim), None, None, labels
        else:
            batch = values, self._indptr[:n + 1], self._keys[:self._n_values], labels
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
        self._values = self._keys = self._indptr = self._labels = None
        self._make_room()

    cdef _make_room(self):
        """Grow whatever array is too small, at least to twice its size."""
        cdef float[::1] values, labels
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
        if not parse_record(&self._payload, features, &self._label, self._labels_wanted != NO_LABELS):
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
        if self._label.n_values == 0:
            return self._bad(LABEL_MISSING, 0, 0, 0)
        if self._label.n_values > 1:
            return self._bad(LABEL_MANY, self._label.n_values, 0, 0)
        if self._label.overflow >> 31:
            return self._bad(LABEL_VALUE, 0, 0, label)
        if self._labels_wanted == BINARY_LABELS and label != 0 and label != 1:
            return self._bad(LABEL_BINARY, 0, 0, label)
        self._label_bits[self.n_rows] = self._label_room
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
        "LABEL_BINARY": LABEL_BINARY,
    }  # fmt: skip
