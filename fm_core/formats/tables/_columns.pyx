"""Columns of texts to rows of features: a table from texts to ids, and the placing of entries.

`Vocabulary` numbers texts in the order in which it learns them. It is an open hash table
of 16 bytes a slot, at most five eighths full, whose texts lie one behind the other. A text
of up to 8 bytes is told apart by its slot alone; a longer one by its hash and then by its
bytes, so that ids are exact in any case. Hashes are keyed at random, and decide no id.
A look-up waits for memory more than it computes: those of some rows are begun together.

`put_entries` writes what one column gives to the rows of a batch behind what the columns before it gave.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy

import os

import numpy as np

__all__ = ["Vocabulary", "put_entries"]

cdef extern from *:
    """
    #define prefetch(address) __builtin_prefetch(address)
    """
    void prefetch(const void* address) noexcept nogil

# Ids of cells that are no text of the vocabulary.
cdef enum:
    EMPTY = -1
    UNSEEN = -2

# Rows whose look-ups are begun together.
cdef enum:
    TOGETHER = 16

cdef uint64_t SPREAD = 0x9E3779B97F4A7C15u
cdef int64_t MOST = (1 << 31) - 1

# used: 0, or the id of the text + 1.
cdef struct Slot:
    uint64_t key
    uint32_t length
    uint32_t used


cdef inline uint64_t load32(const char* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline uint64_t load64(const char* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value


cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    value *= SPREAD
    return value ^ (value >> 32)


cdef inline uint64_t key_of(const char* text, int64_t length, uint64_t seed) noexcept nogil:
    """Return all of a text of 1 to 8 bytes, of which the length is known too, or the hash of a longer one."""
    cdef uint64_t value
    cdef const char* end
    if length > 8:
        value = seed
        end = text + length - 8
        while text < end:
            value = mixed(value ^ load64(text))
            text += 8
        return mixed(value ^ load64(end))
    if length >= 4:
        return load32(text) | load32(text + length - 4) << 32
    return (<uint64_t><uint8_t>text[0] | <uint64_t><uint8_t>text[length >> 1] << 8
            | <uint64_t><uint8_t>text[length - 1] << 16)


cdef class Vocabulary:
    """Texts and their ids, from 0 in the order in which they were learned.

    Parameters
    ----------
    texts : iterable of str
        Learned at once; of equal ones the last counts, and the ids of the others stay unused.
    """

    cdef Slot* _slots
    cdef uint64_t _mask, _seed
    cdef char* _texts
    cdef int64_t* _starts
    cdef int64_t _n_texts, _texts_size, _starts_size
    cdef int _shift

    def __cinit__(self, *_):
        self._seed = int.from_bytes(os.urandom(8), "little")
        self._starts_size = 1024
        self._starts = <int64_t*>realloc(NULL, self._starts_size * sizeof(int64_t))
        self._slots = <Slot*>calloc(1024, sizeof(Slot))
        if self._starts == NULL or self._slots == NULL:
            raise MemoryError
        self._starts[0] = 0
        self._mask = 1023
        self._shift = 54

    def __init__(self, texts=()):
        cdef int64_t number
        for number, text in enumerate(texts):
            data = text.encode()
            if self.id_of(PyBytes_AS_STRING(data), len(data), True) != number:
                raise ValueError(f"text {number} is empty or there twice")

    def __dealloc__(self):
        free(self._slots)
        free(self._starts)
        free(self._texts)

    def __len__(self):
        return self._n_texts

    def texts(self):
        """Return the texts, in their order.

        Raises
        ------
        UnicodeDecodeError
            One is not UTF-8.
        """
        cdef int64_t i
        return [
            PyUnicode_DecodeUTF8(self._texts + self._starts[i], self._starts[i + 1] - self._starts[i], NULL)
            for i in range(self._n_texts)
        ]

    def is_utf8(self, int64_t first=0):
        """Whether all texts are UTF-8, from one on: as a whole, and with no character across two of them."""
        cdef int64_t i
        for i in range(first, self._n_texts):
            if (<uint8_t>self._texts[self._starts[i]] & 0xC0) == 0x80:
                return False
        try:
            PyUnicode_DecodeUTF8(
                self._texts + self._starts[first], self._starts[self._n_texts] - self._starts[first], NULL
            )
        except UnicodeDecodeError:
            return False
        return True

    def find(self, texts, bint learn=False):
        """Return the ids of texts.

        Parameters
        ----------
        texts : iterable of str
        learn : bool
            Whether a text that is not known is learned.

        Returns
        -------
        ids : ndarray of int64
            -1: an empty text; -2: not known.
        """
        out = []
        for text in texts:
            data = text.encode()
            out.append(self.id_of(PyBytes_AS_STRING(data), len(data), learn))
        return np.array(out, np.int64)

    def find_cells(self, const uint8_t[::1] data, const int32_t[:, :] bounds, bint learn=False):
        """Return the ids of cells.

        Parameters
        ----------
        data : buffer of bytes
        bounds : ndarray of int32, shape (n_cells, 2)
            Where each cell begins and ends in it.
        learn : bool

        Returns
        -------
        ids : ndarray of int64
            As `find` gives them.
        """
        cdef int64_t n_rows = bounds.shape[0], first, row, length, found, failed = 0
        cdef int i, n
        cdef uint64_t[TOGETHER] keys
        cdef const char* text
        out = np.empty(n_rows, np.int64)
        cdef int64_t[::1] ids = out
        if n_rows == 0 or data.shape[0] == 0:
            out.fill(EMPTY)
            return out
        cdef const char* begin = <const char*>&data[0]
        with nogil:
            first = 0
            while first < n_rows and not failed:
                n = min(<int64_t>TOGETHER, n_rows - first)
                for i in range(n):
                    length = bounds[first + i, 1] - bounds[first + i, 0]
                    if length > 0:
                        keys[i] = key_of(begin + bounds[first + i, 0], length, self._seed)
                        prefetch(&self._slots[self.slot_of(keys[i], length)])
                for i in range(n):
                    row = first + i
                    text = begin + bounds[row, 0]
                    length = bounds[row, 1] - bounds[row, 0]
                    found = self.look(text, length, keys[i]) if length > 0 else EMPTY
                    if found == UNSEEN and learn:
                        found = self.learn(text, length, keys[i])
                        if found < 0:
                            failed = found
                            break
                    ids[row] = found
                first += n
        if failed:
            raise MemoryError
        return out

    cdef int64_t id_of(self, const char* text, int64_t length, bint learn) except -9:
        cdef uint64_t key
        cdef int64_t found
        if length == 0:
            return EMPTY
        key = key_of(text, length, self._seed)
        found = self.look(text, length, key)
        if found == UNSEEN and learn:
            found = self.learn(text, length, key)
            if found < 0:
                raise MemoryError
        return found

    cdef inline uint64_t slot_of(self, uint64_t key, int64_t length) noexcept nogil:
        return ((key ^ self._seed ^ <uint64_t>length << 56) * SPREAD) >> self._shift

    cdef inline int64_t look(self, const char* text, int64_t length, uint64_t key) noexcept nogil:
        cdef uint64_t at = self.slot_of(key, length)
        cdef Slot* slot = &self._slots[at]
        while slot.used:
            if slot.key == key and slot.length == <uint32_t>length and (
                length <= 8 or memcmp(self._texts + self._starts[slot.used - 1], text, length) == 0
            ):
                return <int64_t>slot.used - 1
            at = (at + 1) & self._mask
            slot = &self._slots[at]
        return UNSEEN

    cdef int64_t learn(self, const char* text, int64_t length, uint64_t key) noexcept nogil:
        """Add a text that is not there; give its id, or -1 if there is no memory."""
        cdef int64_t number = self._n_texts, start = self._starts[self._n_texts]
        cdef void* larger
        if number == MOST or length > MOST:
            return -1
        if number + 2 > self._starts_size:
            larger = realloc(self._starts, 2 * self._starts_size * sizeof(int64_t))
            if larger == NULL:
                return -1
            self._starts = <int64_t*>larger
            self._starts_size *= 2
        if start + length > self._texts_size:
            larger = realloc(self._texts, 2 * (start + length) + 4096)
            if larger == NULL:
                return -1
            self._texts = <char*>larger
            self._texts_size = 2 * (start + length) + 4096
        if 8 * (number + 1) > 5 * <int64_t>(self._mask + 1) and not self.widen():
            return -1
        memcpy(self._texts + start, text, length)
        self._starts[number + 1] = start + length
        self._n_texts += 1
        self.put(self._slots, self._mask, key, <uint32_t>length, <uint32_t>number + 1)
        return number

    cdef void put(self, Slot* slots, uint64_t mask, uint64_t key, uint32_t length, uint32_t used) noexcept nogil:
        cdef uint64_t at = self.slot_of(key, length)
        while slots[at].used:
            at = (at + 1) & mask
        slots[at].key, slots[at].length, slots[at].used = key, length, used

    cdef bint widen(self) noexcept nogil:
        cdef uint64_t i, size = 2 * (self._mask + 1)
        cdef Slot* slots = <Slot*>calloc(size, sizeof(Slot))
        if slots == NULL:
            return False
        self._shift -= 1
        for i in range(self._mask + 1):
            if self._slots[i].used:
                self.put(slots, size - 1, self._slots[i].key, self._slots[i].length, self._slots[i].used)
        free(self._slots)
        self._slots = slots
        self._mask = size - 1
        return True


def put_entries(
    const int32_t[::1] count, const int32_t[::1] features, values, int64_t offset,
    int64_t[::1] ends, int32_t[::1] indices, float[::1] out,
):
    """Write a column's entries to rows.

    Parameters
    ----------
    count : ndarray of int32, shape (n_rows,), or None
        Entries of each row; None: one where a feature is not negative, else none.
    features : ndarray of int32
        Of the entries, counted within the column.
    values : ndarray of float32, or None
        As many; None: 1 each.
    offset : int
        The column's first feature.
    ends : ndarray of int64, shape (n_rows,)
        How far each row is written; moved on.
    indices, out : ndarray of int32 and float32
        The rows' features and values.
    """
    cdef int64_t n_rows = ends.shape[0], n_written = indices.shape[0], row, at, entry = 0, n
    cdef const float[::1] numbers
    cdef bint with_values = values is not None
    if count is None:
        if features.shape[0] != n_rows:
            raise ValueError("one feature a row is needed")
    elif count.shape[0] != n_rows:
        raise ValueError("one count a row is needed")
    if with_values:
        numbers = values
        if numbers.shape[0] != features.shape[0]:
            raise ValueError("one value a feature is needed")
    with nogil:
        for row in range(n_rows):
            if count is None:
                entry = row
                n = features[row] >= 0
            else:
                n = count[row]
            at = ends[row]
            while n > 0 and 0 <= at < n_written and entry < features.shape[0]:
                indices[at] = <int32_t>(features[entry] + offset)
                out[at] = numbers[entry] if with_values else 1
                at += 1
                entry += 1
                n -= 1
            ends[row] = at
