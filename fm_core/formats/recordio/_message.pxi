# The protobuf message of a record, record.proto, to a row's numbers: what `_decode.pyx` includes.
#
# `parse_record` walks over the message and writes values and keys behind the rows that are there already. It
# stores no more than there is room for, but counts everything. Each length is checked against the end of its
# message before it is used; each varint is read within its message (eight bytes at a time only where its field
# has eight left; in varints.h up to 64, of which those behind the field are masked).
# Values are handled as their bits (uint32), little-endian, as every supported CPU is.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport qsort, realloc
from libc.string cimport memcmp, memcpy

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
    WEIGHT_MANY = 24
    WEIGHT_VALUE = 25

cdef enum Member:
    FLOAT32 = 2
    FLOAT64 = 3
    INT32 = 7
    OPAQUE = 9

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


cdef bint parse_entry(
    Payload* payload, Tensor* tensor, Tensor* weight, const uint8_t* start, const uint8_t* end
) noexcept nogil:
    """Read an entry of a map; one with the key `values` replaces what `tensor` holds.

    One with the key `weights` does so for `weight`, unless that is NULL.
    """
    cdef Field field
    cdef const uint8_t* p = start
    cdef bint wanted = False, is_weight = False
    cdef int n_values = 0
    cdef Slice value
    value.start = value.end = start
    while p < end:
        if not next_field(payload, p, end, &field):
            return False
        if field.wire_type == 2 and field.number == 1:
            wanted = field.end - field.start == 6 and memcmp(field.start, b"values", 6) == 0
            is_weight = weight != NULL and field.end - field.start == 7 and memcmp(field.start, b"weights", 7) == 0
        elif field.wire_type == 2 and field.number == 2:
            n_values += 1
            value.start = field.start
            value.end = field.end
        p = field.end
    if is_weight:
        tensor = weight
    elif not wanted:
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


cdef bint parse_record(
    Payload* payload, Tensor* features, Tensor* label, Tensor* weight, bint with_label
) noexcept nogil:
    cdef Field field
    cdef const uint8_t* p = payload.start
    clear(features, 0)
    clear(label, 0)
    clear(weight, 0)
    payload.uid.start = payload.uid.end = NULL
    payload.metadata.start = payload.metadata.end = NULL
    while p < payload.end:
        if not next_field(payload, p, payload.end, &field):
            return False
        if field.wire_type == 2:
            if field.number == 1:
                if not parse_entry(payload, features, NULL, field.start, field.end):
                    return False
            elif field.number == 2:
                if with_label and not parse_entry(payload, label, weight, field.start, field.end):
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
