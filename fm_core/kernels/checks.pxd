# What compiled functions look at before they follow a pointer: that the lengths of their arrays belong together, and
# that there are threads to work. The content of arrays (keys, rows that rise) is checked where rows meet a model.

from libc.stdint cimport int64_t

cdef enum:
    MOST_THREADS = 1024


cdef inline int need(str what, Py_ssize_t found, Py_ssize_t expected) except -1:
    if found != expected:
        raise ValueError(f"{what}: found {found}, expected {expected}")
    return 0


cdef inline int need_room(str what, Py_ssize_t found, Py_ssize_t least) except -1:
    if found < least:
        raise ValueError(f"{what}: found {found}, expected at least {least}")
    return 0


cdef inline int need_rows(const int64_t[::1] indptr, Py_ssize_t n_keys, Py_ssize_t n_values) except -1:
    # CSR rows whose starts and ends lie within their entries, in so far as the first and the last tell
    if indptr.shape[0] < 1 or indptr[0] < 0 or indptr[indptr.shape[0] - 1] > n_keys:
        raise ValueError(f"the starts of rows do not lie within {n_keys} keys")
    need("values of rows", n_values, n_keys)
    return 0


cdef inline int need_threads(Py_ssize_t num_threads) except -1:
    if not 1 <= num_threads <= MOST_THREADS:
        raise ValueError(f"num_threads is {num_threads}, expected 1 to {MOST_THREADS}")
    return 0
