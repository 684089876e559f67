"""Where the items of a JSON array end, without reading them: brackets and strings only.

What stands between two ends is left to a JSON parser. If each piece, in brackets of its own, is valid, the
whole array is: a piece holds whole items, and all bytes are in one of them.
"""

from libc.stdint cimport uint8_t

__all__ = ["end_of_items", "end_of_value"]

cdef enum:
    OTHER, QUOTE, OPENS, CLOSES, COMMA

cdef uint8_t[256] KINDS

KINDS[b'"'] = QUOTE
KINDS[b"["] = KINDS[b"{"] = OPENS
KINDS[b"]"] = KINDS[b"}"] = CLOSES
KINDS[b","] = COMMA


cdef Py_ssize_t after_string(const uint8_t[::1] text, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """The byte after the quote that closes the string of which `at` is the first byte; `size` if none does."""
    while at < size:
        if text[at] == b'"':
            return at + 1
        at += 2 if text[at] == b"\\" else 1
    return size


cdef Py_ssize_t scan(const uint8_t[::1] text, Py_ssize_t at, Py_ssize_t wanted) noexcept nogil:
    """The first comma at or after `wanted`, or closing bracket, that belongs to what `at` is in; -1 if none."""
    cdef Py_ssize_t size = text.shape[0], depth = 0
    cdef uint8_t kind
    while at < size:
        kind = KINDS[text[at]]
        if kind == OTHER:
            at += 1
        elif kind == QUOTE:
            at = after_string(text, at + 1, size)
        elif kind == OPENS:
            depth += 1
            at += 1
        elif kind == CLOSES:
            if depth == 0:
                return at
            depth -= 1
            at += 1
        else:
            if depth == 0 and at >= wanted:
                return at
            at += 1
    return -1


def end_of_items(const uint8_t[::1] text not None, Py_ssize_t start, Py_ssize_t size):
    """Find the end of whole items of an array, at least so many bytes of them.

    Parameters
    ----------
    text : bytes-like
    start : int
        The first byte of an item.
    size : int

    Returns
    -------
    end : int
        Of the comma that follows, or of the bracket that closes; -1 if neither is there.
    """
    cdef Py_ssize_t end
    with nogil:
        end = scan(text, start, start + size)
    return end


def end_of_value(const uint8_t[::1] text not None, Py_ssize_t start):
    """Find the comma or closing bracket that follows a value; -1 if neither is there."""
    cdef Py_ssize_t end
    with nogil:
        end = scan(text, start, 0)
    return end
