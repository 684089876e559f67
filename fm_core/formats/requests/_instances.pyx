"""Instances as a JSON parser leaves them (dicts, lists, Python numbers) straight into CSR buffers.

Two passes: the first finds the lists of keys and of values of every instance and adds up their
lengths, the second writes the numbers into buffers of exactly that size. Nothing is allocated
from a number that the client merely declares: a `shape` is compared, never used as a size.

A dense instance is stored sparse, its zeros left out, so a request may mix both kinds, and a
dense row of mostly zeros costs what its non-zeros cost.
"""

from cpython.dict cimport PyDict_CheckExact, PyDict_GetItem
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_AsDouble, PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.object cimport PyObject
from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t

import numpy as np

from fm_core.errors import DataError
from fm_core.printable import begun

__all__ = ["collect"]

cdef str FEATURES = "features"
cdef str DATA = "data"
cdef str KEYS = "keys"
cdef str VALUES = "values"
cdef str SHAPE = "shape"


def collect(list instances not None, int64_t feature_dim, str what not None, Py_ssize_t first=0):
    """Collect the numbers of all instances.

    Parameters
    ----------
    instances : list
        Each one of ``{"features": [...]}``, ``{"data": {"features": {"values": [...]}}}`` and
        ``{"data": {"features": {"keys": [...], "shape": [...], "values": [...]}}}``, or the
        innermost object alone; other members are ignored.
    feature_dim : int
    what : str
        What an element is called in messages.
    first : int
        The number of the first one in messages.

    Returns
    -------
    indptr : ndarray of int64, shape (n + 1,)
    indices : ndarray of int32, shape (nnz,)
        In the order of the request, each below `feature_dim`.
    values : ndarray of float32, shape (nnz,)
        Finite.
    ascending : bool
        Whether the keys of every row are strictly increasing.

    Raises
    ------
    DataError
        An instance is not of the above shapes; the message names it, counted from 0.
    """
    cdef:
        Py_ssize_t n = len(instances), row, j, size, at = 0, total = 0
        list keys_of = [], values_of = []
        object keys, values, item
        int64_t[::1] indptr
        int32_t[::1] indices
        float[::1] numbers
        int64_t key, previous
        float number
        bint ascending = True

    for row in range(n):
        keys, values = _tensor(<object>PyList_GET_ITEM(instances, row), first + row, feature_dim, what)
        keys_of.append(keys)
        values_of.append(values)
        total += PyList_GET_SIZE(values)

    out_indptr = np.empty(n + 1, np.int64)
    out_indices = np.empty(total, np.int32)
    out_values = np.empty(total, np.float32)
    indptr, indices, numbers = out_indptr, out_indices, out_values
    indptr[0] = 0
    for row in range(n):
        keys = <object>PyList_GET_ITEM(keys_of, row)
        values = <object>PyList_GET_ITEM(values_of, row)
        size = PyList_GET_SIZE(values)
        if keys is None:
            for j in range(size):
                number = _number(<object>PyList_GET_ITEM(values, j), first + row, j, what)
                if number != 0:
                    indices[at] = <int32_t>j
                    numbers[at] = number
                    at += 1
        else:
            previous = -1
            for j in range(size):
                item = <object>PyList_GET_ITEM(keys, j)
                key = _key(item, first + row, what)
                if not 0 <= key < feature_dim:
                    raise DataError(f"{what} {first + row}: key {_short(item)} is "
                                    + (f"not below feature_dim={feature_dim}" if item > 0 else "negative"))
                ascending &= key > previous
                previous = key
                indices[at] = <int32_t>key
                numbers[at] = _number(<object>PyList_GET_ITEM(values, j), first + row, j, what)
                at += 1
        indptr[row + 1] = at
    return out_indptr, out_indices[:at], out_values[:at], ascending


cdef object _get(object mapping, str name):
    cdef PyObject* found = PyDict_GetItem(mapping, name)
    return None if found is NULL else <object>found


cdef object _features(dict instance):
    """What an instance has for features: a list or a tensor (an object), or None."""
    cdef object features = _get(instance, FEATURES), data
    if features is None:
        data = _get(instance, DATA)
        if PyDict_CheckExact(data):
            features = _get(data, FEATURES)
        elif PyDict_GetItem(instance, VALUES) is not NULL:
            features = instance
    return features


cdef tuple _tensor(object instance, Py_ssize_t row, int64_t feature_dim, str what):
    """The keys (None if dense) and values of one instance, each a list, their lengths checked."""
    if not PyDict_CheckExact(instance):
        raise DataError(f"{what} {row} is {_kind(instance)}, expected an object with features")
    cdef object features = _features(instance)
    if features is None:
        raise DataError(f'{what} {row} has neither "features" nor "data": {{"features": ...}}')
    if PyList_CheckExact(features):
        return None, _dense(features, row, feature_dim, what)
    if not PyDict_CheckExact(features):
        raise DataError(f'{what} {row}: "features" is {_kind(features)}, expected a list of numbers, '
                        'or an object with "values"')
    cdef object values = _get(features, VALUES), keys = _get(features, KEYS), shape = _get(features, SHAPE)
    if not PyList_CheckExact(values):
        raise DataError(f'{what} {row}: "values" is {_kind(values)}, expected a list of numbers')
    if shape is not None and shape != [feature_dim]:
        raise DataError(f'{what} {row}: "shape" is {_short(shape)}, expected [{feature_dim}] (feature_dim)')
    if keys is None:
        if shape is not None and PyList_GET_SIZE(values) == 0:
            return [], values
        return None, _dense(values, row, feature_dim, what)
    if not PyList_CheckExact(keys):
        raise DataError(f'{what} {row}: "keys" is {_kind(keys)}, expected a list of integers')
    if PyList_GET_SIZE(keys) == 0 and PyList_GET_SIZE(values) == feature_dim:
        return None, values
    if PyList_GET_SIZE(keys) != PyList_GET_SIZE(values):
        raise DataError(f"{what} {row}: {PyList_GET_SIZE(values)} values for {PyList_GET_SIZE(keys)} keys, "
                        "expected one each")
    return keys, values


cdef object _dense(object values, Py_ssize_t row, int64_t feature_dim, str what):
    if PyList_GET_SIZE(values) != feature_dim:
        raise DataError(f"{what} {row}: {PyList_GET_SIZE(values)} values without keys, "
                        f"expected feature_dim={feature_dim} of them")
    return values


cdef inline int64_t _key(object item, Py_ssize_t row, str what) except? -2:
    cdef int overflow = 0
    cdef int64_t key
    if not PyLong_CheckExact(item):
        raise DataError(f"{what} {row}: key {_short(item)} is {_kind(item)}, expected an integer")
    key = PyLong_AsLongLongAndOverflow(item, &overflow)
    return key if overflow == 0 else -1


cdef inline float _number(object item, Py_ssize_t row, Py_ssize_t position, str what) except? -1:
    cdef float number
    if PyFloat_CheckExact(item):
        number = <float>PyFloat_AS_DOUBLE(item)
    elif PyLong_CheckExact(item):
        number = <float>PyLong_AsDouble(item)
    else:
        raise DataError(f"{what} {row}: value {position} is {_kind(item)}, expected a number")
    if not isfinite(number):
        raise DataError(f"{what} {row}: value {position} is {_short(item)}, which is not finite as float32")
    return number


cdef dict KINDS = {
    dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null or absent",
    int: "an integer", float: "a number with a fraction",
}


def _kind(item):
    return KINDS.get(type(item), type(item).__name__)


def _short(item):
    text = repr(item[:41]) if type(item) is str else begun(item, 41)
    return text if len(text) <= 40 else text[:37] + "..."
