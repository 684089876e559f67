# What compiled functions look at before they follow a pointer: that the lengths of their arrays belong together, and
# that there are threads to work. The content of rows is walked over where they meet a model, by `rows_within`.

from libc.stdint cimport int32_t, int64_t, uint32_t

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


cdef inline bint rows_within(
    const int64_t[::1] indptr, const int32_t[::1] indices, Py_ssize_t n_values, int64_t feature_dim
) noexcept nogil:
    # whether CSR rows begin and end within their entries, and every key is one of feature_dim features
    cdef Py_ssize_t i, n = indices.shape[0], n_rows = indptr.shape[0] - 1
    cdef uint32_t largest = 0, key
    cdef int64_t falls = 0
    cdef const int32_t* keys = &indices[0] if n else NULL
    cdef const int64_t* starts = &indptr[0] if n_rows >= 0 else NULL
    if n_rows < 0 or starts[0] != 0 or starts[n_rows] != n or n_values != n:
        return False
    for i in range(n_rows):
        falls |= starts[i + 1] - starts[i]  # its sign, once one of them is negative
    for i in range(n):
        key = <uint32_t> keys[i]  # a negative one is large
        largest = max(largest, key)
    return falls >= 0 and (n == 0 or largest < feature_dim)
