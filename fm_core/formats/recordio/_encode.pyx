"""Rows to framed records, and predictions to framed records, in one pass each.

`write_records` gives, byte for byte, what the writers of the SageMaker Python SDK v2 give
for the same input (``write_numpy_to_dense_tensor``, ``write_spmatrix_to_sparse_tensor``).
Sizes are computed first, from the inside out, then bytes are written from the front. A
record, with the bytes of each level counted::

    u32 magic, u32 length
    0a n  features entry    { 0a 06 "values"  12 n value { (12|1a|3a) n tensor } }
    12 n  label entry       { the same, a tensor of one number }       if there are labels
    12 n  label entry       { 0a 7 "weights", a tensor of one number } if there are weights
    00..  to a multiple of 4

    tensor { 0a n values  12 n keys  1a n shape }, each packed, left out where empty
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from fm_core.errors import DataError
from fm_core.given import check_csr, check_weights, float_array, refuse_masked
from fm_core.kernels._bounds import all_finite
from fm_core.printable import quoted

__all__ = ["encode_predictions", "write_records"]

cdef uint32_t MAGIC = 0xCED7230A
cdef int64_t MAX_BYTES = (1 << 29) - 1
# Written to the file at once; a longer record makes the buffer grow.
BUFFER_BYTES = 1 << 18

cdef enum Number:
    FLOAT32 = 0
    FLOAT64 = 1
    INT32 = 2

NUMBERS = {"float32": FLOAT32, "float64": FLOAT64, "int64": INT32}

# The field of Value that holds each type of tensor.
cdef uint8_t[3] VALUE_TAGS = [0x12, 0x1A, 0x3A]

cdef struct Writer:
    uint8_t* at


cdef inline int64_t varint_size(uint64_t value) noexcept nogil:
    cdef int64_t size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


cdef inline int64_t field_size(int64_t size) noexcept nogil:
    """Bytes of a field with `size` bytes of content: tag, length, content."""
    return 1 + varint_size(size) + size


cdef inline void put_varint(Writer* out, uint64_t value) noexcept nogil:
    while value >= 0x80:
        out.at[0] = <uint8_t>(value | 0x80)
        out.at += 1
        value >>= 7
    out.at[0] = <uint8_t>value
    out.at += 1


cdef inline void put_field(Writer* out, uint8_t tag, int64_t size) noexcept nogil:
    out.at[0] = tag
    out.at += 1
    put_varint(out, size)


cdef inline void put_bytes(Writer* out, const void* data, int64_t size) noexcept nogil:
    memcpy(out.at, data, size)
    out.at += size


cdef inline void put_frame(Writer* out, int64_t size) noexcept nogil:
    cdef uint32_t length = <uint32_t>size
    put_bytes(out, &MAGIC, 4)
    put_bytes(out, &length, 4)


cdef inline void put_padding(Writer* out, int64_t size) noexcept nogil:
    memset(out.at, 0, -size & 3)
    out.at += -size & 3


cdef struct Tensor:
    const char* key           # of the entry; eight bytes are read
    int key_size
    int number
    const uint8_t* values
    int64_t n_values
    const uint8_t* keys       # int32 or int64, NULL if dense
    int key_bytes
    int64_t n_keys
    int64_t width             # written as shape; 0: none
    # Filled by measure:
    int64_t values_size
    int64_t keys_size
    int64_t shape_size
    int64_t size


cdef inline int64_t integer(const uint8_t* data, int64_t i, int item_bytes) noexcept nogil:
    cdef int32_t short_one
    cdef int64_t long_one
    if item_bytes == 4:
        memcpy(&short_one, data + 4 * i, 4)
        return short_one
    memcpy(&long_one, data + 8 * i, 8)
    return long_one


cdef int64_t size_of_keys(const int32_t* keys, int64_t n) noexcept nogil:
    """What keys of 0 and more take as varints: seven bits a byte, without a branch or a multiplication."""
    cdef int64_t i
    cdef int32_t size = 0, key
    if n > MAX_BYTES:  # no record holds them, and the sum would overflow
        return n
    for i in range(n):
        key = keys[i]
        size += (key > 0x7F) + (key > 0x3FFF) + (key > 0x1FFFFF) + (key > 0xFFFFFFF)
    return n + size


cdef int64_t measure(Tensor* tensor) noexcept nogil:
    """Fill in the sizes of a tensor; give that of the entry of a map that holds it."""
    cdef int64_t i, size = 0
    cdef int64_t value_size
    if tensor.number == INT32:
        for i in range(tensor.n_values):
            size += varint_size(<uint64_t>integer(tensor.values, i, 8))
    else:
        size = tensor.n_values * (4 if tensor.number == FLOAT32 else 8)
    tensor.values_size = size
    size = 0
    if tensor.key_bytes == 4:
        size = size_of_keys(<const int32_t*> tensor.keys, tensor.n_keys)
    else:
        for i in range(tensor.n_keys):
            size += varint_size(integer(tensor.keys, i, tensor.key_bytes))
    tensor.keys_size = size
    tensor.shape_size = varint_size(tensor.width) if tensor.width else 0
    tensor.size = 0
    if tensor.values_size:
        tensor.size += field_size(tensor.values_size)
    if tensor.keys_size:
        tensor.size += field_size(tensor.keys_size)
    if tensor.shape_size:
        tensor.size += field_size(tensor.shape_size)
    value_size = field_size(tensor.size)
    return field_size(tensor.key_size) + field_size(value_size)


cdef void put_entry(Writer* writer, uint8_t tag, int64_t entry_size, const Tensor* tensor) noexcept nogil:
    # Copies, which no byte that is written may alias: else each would be read anew after every byte.
    cdef Writer here = writer[0]
    cdef Writer* out = &here
    cdef const uint8_t* keys = tensor.keys
    cdef int key_bytes = tensor.key_bytes
    cdef int64_t i
    put_field(out, tag, entry_size)
    put_field(out, 0x0A, tensor.key_size)
    memcpy(out.at, tensor.key, 8)  # a size that is known is no call; what is too much is written over
    out.at += tensor.key_size
    put_field(out, 0x12, field_size(tensor.size))
    put_field(out, VALUE_TAGS[tensor.number], tensor.size)
    if tensor.values_size:
        put_field(out, 0x0A, tensor.values_size)
        if tensor.number == INT32:
            for i in range(tensor.n_values):
                put_varint(out, <uint64_t>integer(tensor.values, i, 8))
        else:
            put_bytes(out, tensor.values, tensor.values_size)
    if tensor.keys_size:
        put_field(out, 0x12, tensor.keys_size)
        for i in range(tensor.n_keys):
            put_varint(out, integer(keys, i, key_bytes))
    if tensor.shape_size:
        put_field(out, 0x1A, tensor.shape_size)
        put_varint(out, tensor.width)
    writer[0] = here


cdef class _Rows:
    """A block of rows as pointers, and the labels beside them.

    Arrays are C-contiguous, in native byte order, and kept alive here.
    """

    cdef object _alive
    cdef Tensor row, label, weight
    cdef const uint8_t* _values
    cdef const uint8_t* _keys
    cdef const int64_t* _indptr
    cdef const uint8_t* _labels
    cdef const uint8_t* _weights
    cdef int64_t n_rows, _width
    cdef int _value_bytes, _label_bytes

    def __cinit__(self, values, labels, keys=None, indptr=None, shape=None, weights=None):
        self._alive = (values, labels, keys, indptr, weights)
        self.row.key, self.row.key_size = b"values\0", 6
        self.label.key, self.label.key_size = b"values\0", 6
        self.weight.key, self.weight.key_size = b"weights", 7
        self.row.number = NUMBERS[values.dtype.name]
        self._value_bytes = values.dtype.itemsize
        self._values = address(values)
        if indptr is None:
            self.n_rows, self._width = values.shape
        else:
            self.n_rows = len(indptr) - 1
            self.row.width = shape
            self._keys = address(keys)
            self.row.key_bytes = keys.dtype.itemsize
            self._indptr = <const int64_t*>address(indptr)
        if labels is not None:
            self.label.number = NUMBERS[labels.dtype.name]
            self.label.n_values = 1
            self._label_bytes = labels.dtype.itemsize
            self._labels = address(labels)
        if weights is not None:
            self.weight.number = FLOAT32
            self.weight.n_values = 1
            self._weights = address(weights)

    cdef void select(self, int64_t i) noexcept nogil:
        """Point `row` and `label` at row i."""
        cdef int64_t start
        if self._indptr == NULL:
            start = i * self._width
            self.row.n_values = self._width
        else:
            start = self._indptr[i]
            self.row.n_values = self.row.n_keys = self._indptr[i + 1] - start
            self.row.keys = self._keys + start * self.row.key_bytes
        self.row.values = self._values + start * self._value_bytes
        if self._labels != NULL:
            self.label.values = self._labels + i * self._label_bytes
        if self._weights != NULL:
            self.weight.values = self._weights + i * 4

    cdef int64_t encode(self, int64_t first, uint8_t* out, int64_t room, int64_t* used) noexcept nogil:
        """Encode rows from `first` as far as there is room; give the first that was not."""
        cdef Writer writer
        cdef int64_t i, size, features, label = 0, weight = 0
        writer.at = out
        for i in range(first, self.n_rows):
            self.select(i)
            features = measure(&self.row)
            size = field_size(features)
            if self._labels != NULL:
                label = measure(&self.label)
                size += field_size(label)
            if self._weights != NULL:
                weight = measure(&self.weight)
                size += field_size(weight)
            used[0] = writer.at - out
            if size > MAX_BYTES or used[0] + size + 12 > room:
                # If it is the first, the caller needs to know what it takes.
                if i == first:
                    used[0] = -size
                return i
            put_frame(&writer, size)
            put_entry(&writer, 0x0A, features, &self.row)
            if self._labels != NULL:
                put_entry(&writer, 0x12, label, &self.label)
            if self._weights != NULL:
                put_entry(&writer, 0x12, weight, &self.weight)
            put_padding(&writer, size)
        used[0] = writer.at - out
        return self.n_rows


cdef const uint8_t* address(array):
    cdef const uint8_t[::1] view
    if array.nbytes == 0:
        return <const uint8_t*>b""
    view = array.reshape(-1).view(np.uint8)
    return &view[0]


def write_records(file, rows, labels=None, weights=None):
    """Write rows as framed records, as the writers of the SageMaker SDK v2 do.

    Parameters
    ----------
    file : binary file
        Written from where it stands, a buffer of 256 KiB (or one record) at a time.
    rows : 2-D ndarray, or sparse matrix, shape (n_rows, feature_dim)
        float32, float64 or int64; written as Float32Tensor, Float64Tensor or Int32Tensor.
        A dense row is its values; a sparse one is values, keys (in their order) and shape.
    labels : ndarray of float32, float64 or int64, shape (n_rows,), optional
    weights : ndarray of float32, shape (n_rows,), optional
        Written under label `weights`: how often each row counts.

    Raises
    ------
    DataError
        A type or shape is another one, or an integer does not fit into 32 bits.
    """
    refuse_masked("the rows", rows)
    refuse_masked("the labels", labels)
    if hasattr(rows, "tocsr"):
        rows = rows.tocsr()
        check_csr(rows)
        check_type("rows", rows.data.dtype)
        blocks = [(0, rows.shape[0])]
    else:
        rows = np.asarray(rows)
        check_type("rows", rows.dtype)
        if rows.ndim != 2:
            raise DataError(f"the rows have {rows.ndim} dimensions, expected 2")
        # A matrix that has to be copied (another order of bytes or axes) is copied in parts.
        step = max(1, BUFFER_BYTES // max(1, rows.shape[1] * rows.itemsize))
        blocks = [(i, min(i + step, rows.shape[0])) for i in range(0, rows.shape[0], step)]
    if labels is not None:
        labels = np.asarray(labels)
        check_type("labels", labels.dtype)
        if labels.shape != (rows.shape[0],):
            raise DataError(f"labels have shape {labels.shape}, expected ({rows.shape[0]},), one for each row")
        labels = check_integers("labels", native(labels))
        check_finite("label", labels, 0, None)
    if weights is not None:
        weights = float_array("the weights", weights)
        if weights.shape != (rows.shape[0],):
            raise DataError(f"weights have shape {weights.shape}, expected ({rows.shape[0]},), one for each row")
        check_weights(weights)
    buffer = bytearray(BUFFER_BYTES)
    for first, last in blocks:
        block_labels = None if labels is None else labels[first:last]
        block_weights = None if weights is None else weights[first:last]
        if isinstance(rows, np.ndarray):
            check_finite("value", rows[first:last], first, None)
            block = _Rows(check_integers("rows", native(rows[first:last])), block_labels, weights=block_weights)
        else:
            check_finite("value", rows.data[: rows.indptr[rows.shape[0]]], 0, rows.indptr)
            block = _Rows(
                check_integers("rows", native(rows.data)), block_labels,
                keys=native(rows.indices), indptr=native(rows.indptr).astype(np.int64, copy=False), shape=rows.shape[1],
                weights=block_weights,
            )  # fmt: skip
        write_block(file, block, buffer, first)


cdef write_block(file, _Rows block, buffer, int64_t first):
    cdef uint8_t[::1] view = buffer
    cdef int64_t row = 0
    cdef int64_t used = 0
    while row < block.n_rows:
        with nogil:
            row = block.encode(row, &view[0], view.shape[0], &used)
        if used >= 0:
            write_all(file, memoryview(view)[:used])
        elif -used > MAX_BYTES:
            raise DataError(f"row {first + row} makes a record of {-used} bytes, expected at most {MAX_BYTES}")
        else:
            view = bytearray(-used + 12)


cdef write_all(file, data):
    """Write to a file that may take less than it is given, as unbuffered ones do."""
    while len(data):
        written = file.write(data)
        if written is None:
            return
        data = data[written:]


cdef check_type(what, dtype):
    if dtype.newbyteorder("=").name not in NUMBERS:
        raise DataError(f"{what} are {dtype}, expected float32, float64 or int64; convert them with astype")


cdef check_finite(what, array, first, starts):
    """Refuse what no reader takes, while it can still be named."""
    if array.dtype.kind != "f" or array.size == 0:
        return
    if array.dtype == np.float32 and array.flags.c_contiguous and all_finite(array.reshape(-1)):
        return
    with np.errstate(over="ignore"):
        # The least and the greatest carry a NaN along, and need no array of truths.
        if np.isfinite(np.float32(array.min())) and np.isfinite(np.float32(array.max())):
            return
        at = int(np.argmin(np.isfinite(array.astype(np.float32, copy=False)).reshape(-1)))
    if starts is not None:
        row = int(np.searchsorted(starts, at, side="right")) - 1
    else:
        row = first + (at // array.shape[1] if array.ndim == 2 else at)
    raise DataError(f"row {row}: the {what} {array.reshape(-1)[at]} is not finite in float32")


cdef native(array):
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


cdef check_integers(what, array):
    if array.dtype == np.int64 and array.size:
        for value in (array.min(), array.max()):
            if not -(1 << 31) <= value < 1 << 31:
                raise DataError(f"{what} have the integer {value}, which does not fit into the record's 32 bits")
    return array


def encode_predictions(scores, predicted_labels=None, uids=None, metadatas=None):
    """Encode predictions as framed records, one for each row, as the built-in answers.

    Parameters
    ----------
    scores : ndarray of float32, shape (n_rows,)
        Under label ``score``.
    predicted_labels : ndarray of float32, shape (n_rows,), optional
        Under label ``predicted_label``.
    uids, metadatas : sequence of bytes, str or None, length n_rows, optional
        Echoed where they are not None.

    Returns
    -------
    body : bytes
    """
    scores = float_array("the scores", scores)
    if scores.ndim != 1:
        raise DataError(f"the scores have {scores.ndim} dimensions, expected 1")
    cdef const float[::1] score_view = scores
    cdef const float[::1] label_view
    cdef int64_t n = score_view.shape[0]
    cdef int64_t i, size
    cdef int64_t labels_size = 2 + SCORE_BYTES
    cdef bint with_labels = predicted_labels is not None
    cdef bint with_texts = uids is not None or metadatas is not None
    cdef Writer writer
    cdef uint8_t[::1] view
    if with_labels:
        predicted_labels = float_array("the predicted labels", predicted_labels)
        labels_size += 2 + LABEL_BYTES
        if predicted_labels.shape != (n,):
            raise ValueError(f"{predicted_labels.size} predicted labels for {n} scores, expected one each")
        label_view = predicted_labels
    for what, given in (("uids", uids), ("metadatas", metadatas)):
        if given is not None and (isinstance(given, (str, bytes)) or not hasattr(given, "__len__") or len(given) != n):
            raise DataError(f"{what} are {quoted(given)}, expected a list of {n}, one for each score")
    texts = [text_fields(uids, metadatas, i) for i in range(n)] if with_texts else None
    total = n * (8 + labels_size + (-labels_size & 3))
    if with_texts:
        total = sum(8 + (labels_size + len(text) + 3) // 4 * 4 for text in texts)
    body = bytearray(total)
    writer.at = NULL
    if total:
        view = body
        writer.at = &view[0]
    for i in range(n):
        size = labels_size
        if with_texts:
            text = texts[i]
            size += len(text)
        put_frame(&writer, size)
        put_number(&writer, b"score", 5, score_view[i])
        if with_labels:
            put_number(&writer, b"predicted_label", 15, label_view[i])
        if with_texts:
            put_bytes(&writer, <const char*>text, len(text))
        put_padding(&writer, size)
    view = None
    return bytes(body)


# Content of an entry: the key's field, then 12 08 { 12 06 { 0a 04 float } }.
cdef int64_t SCORE_BYTES = 2 + 5 + 10
cdef int64_t LABEL_BYTES = 2 + 15 + 10


cdef inline void put_number(Writer* out, const char* key, int64_t key_size, float number) noexcept nogil:
    """Put an entry of the label map: a key, and a Float32Tensor of one number."""
    put_field(out, 0x12, 2 + key_size + 10)
    put_field(out, 0x0A, key_size)
    put_bytes(out, key, key_size)
    put_field(out, 0x12, 8)
    put_field(out, 0x12, 6)
    put_field(out, 0x0A, 4)
    put_bytes(out, &number, 4)


cdef bytes text_fields(uids, metadatas, int64_t i):
    """Encode the uid and the metadata of row i."""
    fields = b""
    for tag, texts in ((b"\x1a", uids), (b"\x22", metadatas)):
        if texts is None or texts[i] is None:
            continue
        if not isinstance(texts[i], (str, bytes, bytearray, memoryview)):
            raise TypeError(f"row {i}: {quoted(texts[i])} is echoed, expected a text, bytes or None")
        text = texts[i].encode() if isinstance(texts[i], str) else bytes(texts[i])
        size = len(text)
        length = bytearray()
        while size >= 0x80:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        length.append(size)
        fields += tag + bytes(length) + text
    return fields
