"""Cells of text: which are in the one form of their value, which have to be made so; their codes and hashes.

What the form is `values.canonical` says. `settle` knows only what surely has it, and leaves the rest to that. Nearly
all cells are names or short integers, which one look tells.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

import numpy as np

__all__ = ["cell_codes", "cell_hashes", "set_words", "settle"]

cdef enum:
    MOST_WORDS = 64
    LONGEST_WORD = 16
    MOST_DIGITS = 40

cdef char[MOST_WORDS][LONGEST_WORD] words
cdef int[MOST_WORDS] lengths
cdef int n_words = 0
cdef bint[256] begins  # a word
cdef const char* NOTHING = ""


def set_words(list texts):
    """Say which texts are words with another form, or stand for a missing value."""
    global n_words
    cdef int i
    cdef bytes text
    cdef const char* data
    if len(texts) > MOST_WORDS or max(map(len, texts)) > LONGEST_WORD or min(map(len, texts)) < 1:
        raise ValueError(f"{len(texts)} words, expected at most {MOST_WORDS} of 1 to {LONGEST_WORD} bytes")
    n_words = 0
    for i in range(256):
        begins[i] = False
    for i, text in enumerate(texts):
        data = text
        lengths[i] = <int>len(text)
        memcpy(words[i], data, lengths[i])
        begins[<uint8_t>data[0]] = True
        n_words = i + 1


cdef inline bint is_blank(uint8_t c) noexcept nogil:
    return c == 32 or 9 <= c <= 13


cdef bint is_word(const uint8_t* text, int64_t n) noexcept nogil:
    cdef int i
    for i in range(n_words):
        if lengths[i] == n and memcmp(words[i], text, n) == 0:
            return True
    return False


cdef bint is_settled(const uint8_t* text, int64_t n) noexcept nogil:
    """Whether a text without blanks around it surely is in its one form."""
    cdef int64_t i, point = -1
    cdef uint8_t c
    if n == 0:
        return True
    c = text[0]
    if begins[c] and n <= LONGEST_WORD and is_word(text, n):
        return False
    if not (c"0" <= c <= c"9" or c == c"-" or c == c"."):
        return True
    if n == 10 and text[4] == c"-" and text[7] == c"-":
        return True  # a date, or no number
    # An integer, or a number with a fraction, as it should be.
    i = c == c"-"
    if i + 1 < n and text[i] == c"0" and text[i + 1] != c".":
        # No number, unless it has an exponent; perhaps a time, of an early year or of an early hour.
        return not (
            text[i + 1] == c"e" or text[i + 1] == c"E" or (n > 10 and text[4] == c"-") or (n > 8 and text[2] == c":")
        )
    while i < n:
        c = text[i]
        if c == c"." and point < 0:
            point = i
        elif not c"0" <= c <= c"9":
            break
        i += 1
    if i < n:
        # Other characters: letters of numbers, dates and times may be of one.
        while i < n:
            c = text[i]
            if not (c"0" <= c <= c"9" or c == c"." or c == c"-" or c == c"+" or c == c":" or c == 32 or c == c"e"
                    or c == c"E" or c == c"T" or c == c"Z" or c == c"U" or c == c"C"):
                return True
            i += 1
        return False
    if n > MOST_DIGITS:
        return False
    if point < 0:
        return text[0] != c"-" or n > 2 or (n == 2 and text[1] != c"0")
    # A point with digits on both sides, the last not zero, and something before it; "-0.5" too.
    return text[n - 1] != c"0" and point < n - 1 and point > (text[0] == c"-")


def settle(const uint8_t[::1] data, const int32_t[:, :] bounds):
    """Leave the blanks around cells out, and tell which cells may have another form.

    Parameters
    ----------
    data : buffer of bytes
    bounds : ndarray of int32, shape (n_cells, 2)
        Where each cell begins and ends in it.

    Returns
    -------
    bounds : ndarray of int32, shape (n_cells, 2)
    pending : ndarray of int64
        The cells that are left to `values.canonical`.
    """
    cdef int64_t n = bounds.shape[0], cell, n_pending = 0, size = data.shape[0]
    cdef int32_t start, end
    cdef const uint8_t* text
    if bounds.shape[1] != 2:
        raise ValueError(f"bounds have {bounds.shape[1]} columns, expected 2")
    out = np.empty((n, 2), np.int32)
    left = np.empty(n, np.int64)
    cdef int32_t[:, ::1] kept = out
    cdef int64_t[::1] pending = left
    if n == 0:
        return out, left
    text = &data[0] if size else NULL
    with nogil:
        for cell in range(n):
            start, end = bounds[cell, 0], bounds[cell, 1]
            if start < 0 or end > size or start > end:
                start = end = 0
            while start < end and is_blank(text[start]):
                start += 1
            while start < end and is_blank(text[end - 1]):
                end -= 1
            kept[cell, 0], kept[cell, 1] = start, end
            if start < end and not is_settled(text + start, end - start):
                pending[n_pending] = cell
                n_pending += 1
    return out, left[:n_pending]


def cell_codes(const uint8_t[::1] data, const int32_t[:, :] bounds):
    """Number the texts of cells in the order in which they first appear.

    Parameters
    ----------
    data, bounds
        As for `settle`.

    Returns
    -------
    codes : ndarray of int64, shape (n_cells,)
    texts : list of bytes
        Each once.
    """
    cdef int64_t n = bounds.shape[0], cell, code, start, length, size = data.shape[0], before = 0, last = -1
    cdef const char* text = NOTHING
    cdef dict known = {}
    if size:
        text = <const char*>&data[0]
    if bounds.shape[1] != 2:
        raise ValueError(f"bounds have {bounds.shape[1]} columns, expected 2")
    out = np.empty(n, np.int64)
    cdef int64_t[::1] codes = out
    for cell in range(n):
        start, length = bounds[cell, 0], bounds[cell, 1] - bounds[cell, 0]
        if start < 0 or length < 0 or start + length > size:
            raise ValueError(f"cell {cell} does not lie in the {size} bytes of data")
        if length != last or memcmp(text + start, text + before, length) != 0:
            code = len(known)
            code = known.setdefault(PyBytes_FromStringAndSize(text + start, length), code)
            before, last = start, length
        codes[cell] = code
    return out, list(known)


def cell_hashes(const uint8_t[::1] data, const int32_t[:, :] bounds):
    """Return the CRC-32 of each cell, as zlib computes it, -1 for an empty one.

    Parameters
    ----------
    data, bounds
        As for `settle`.

    Returns
    -------
    hashes : ndarray of int64, shape (n_cells,)
    """
    cdef int64_t n = bounds.shape[0], cell, size = data.shape[0]
    cdef int32_t start, end
    cdef const char* text = NOTHING
    cdef int64_t outside = -1
    if size:
        text = <const char*>&data[0]
    if bounds.shape[1] != 2:
        raise ValueError(f"bounds have {bounds.shape[1]} columns, expected 2")
    out = np.empty(n, np.int64)
    cdef int64_t[::1] hashes = out
    with nogil:
        for cell in range(n):
            start, end = bounds[cell, 0], bounds[cell, 1]
            if start < 0 or end > size or start > end:
                outside = cell
                break
            hashes[cell] = crc32(text + start, text + end)
    if outside >= 0:
        raise ValueError(f"cell {outside} does not lie in the {size} bytes of data")
    return out


cdef uint32_t[256] CRC_TABLE


cdef void fill_crc_table() noexcept nogil:
    cdef uint32_t byte, value
    cdef int _bit
    for byte in range(256):
        value = byte
        for _bit in range(8):
            value = (value >> 1) ^ (0xEDB88320u if value & 1 else 0)
        CRC_TABLE[byte] = value


fill_crc_table()


cdef int64_t crc32(const char* at, const char* end) noexcept nogil:
    cdef uint32_t value = 0xFFFFFFFFu
    if at == end:
        return -1
    while at < end:
        value = (value >> 8) ^ CRC_TABLE[(value ^ <uint8_t>at[0]) & 0xFF]
        at += 1
    return value ^ 0xFFFFFFFFu
