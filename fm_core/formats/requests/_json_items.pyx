"""Where the items of a JSON array end, without reading them: brackets and strings only.

What stands between two ends is left to a JSON parser. If each piece, in brackets of its own, is valid, the
whole array is: a piece holds whole items, and all bytes are in one of them.

Parsers take the last of two members of one name, without a word. A text has as many colons outside of its strings as
it has members, so the members that a parser left are counted beside them.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.dict cimport PyDict_CheckExact, PyDict_Next, PyDict_Size
from cpython.list cimport PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

__all__ = ["end_of_items", "end_of_value", "has_repeated_key"]

cdef enum:
    OTHER, QUOTE, OPENS, CLOSES, COMMA

cdef uint8_t[256] KINDS

KINDS[b'"'] = QUOTE
KINDS[b"["] = KINDS[b"{"] = OPENS
KINDS[b"]"] = KINDS[b"}"] = CLOSES
KINDS[b","] = COMMA


cdef Py_ssize_t after_string(const uint8_t* text, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
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
            at = after_string(&text[0], at + 1, size)
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


cdef Py_ssize_t members_of(object value) except -1:
    """The members of all objects in what a parser made of a text, which has bounded how deep they are nested."""
    cdef:
        Py_ssize_t n = 0, at = 0
        PyObject* key
        PyObject* item
    if PyDict_CheckExact(value):
        n = PyDict_Size(value)
        while PyDict_Next(value, &at, &key, &item):
            if PyDict_CheckExact(<object>item) or PyList_CheckExact(<object>item):
                n += members_of(<object>item)
    elif PyList_CheckExact(value):
        for at in range(PyList_GET_SIZE(value)):
            item = <PyObject*>PyList_GET_ITEM(value, at)
            if PyDict_CheckExact(<object>item) or PyList_CheckExact(<object>item):
                n += members_of(<object>item)
    return n


cdef Py_ssize_t colons_of(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    """The colons of a text, those in strings too."""
    cdef Py_ssize_t n = 0, at
    for at in range(size):
        n += text[at] == b":"
    return n


cdef Py_ssize_t colons_outside(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    """The colons of a text that stand in no string."""
    cdef Py_ssize_t n = 0, at = 0
    while at < size:
        if text[at] == b'"':
            at = after_string(text, at + 1, size)
        else:
            n += text[at] == b":"
            at += 1
    return n


def has_repeated_key(text, document):
    """Whether an object has two members of one name.

    Parameters
    ----------
    text : bytes-like
        Valid JSON.
    document : object
        What a parser made of it, of dicts and lists, with one member of each name.

    Returns
    -------
    is_repeated : bool
    """
    cdef Py_buffer view
    cdef Py_ssize_t members = members_of(document)
    PyObject_GetBuffer(text, &view, PyBUF_SIMPLE)
    try:
        # Without colons in strings the first count, which is many times as fast, is enough.
        return (colons_of(<const uint8_t*>view.buf, view.len) != members
                and colons_outside(<const uint8_t*>view.buf, view.len) != members)
    finally:
        PyBuffer_Release(&view)
