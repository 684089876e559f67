"""Whether CSR rows stay within what they point into: one walk over them, before any kernel's."""

from libc.stdint cimport int32_t, int64_t, uint32_t


def within(const int64_t[::1] indptr, const int32_t[::1] indices, Py_ssize_t n_values, int64_t feature_dim):
    """Whether rows begin and end within `n_values` entries, and every index is one of `feature_dim` features.

    Parameters
    ----------
    indptr : ndarray of int64, shape (n_rows + 1,)
    indices : ndarray of int32, shape (nnz,)
    n_values : int
        How many values there are.
    feature_dim : int

    Returns
    -------
    within : bool
    """
    cdef Py_ssize_t i, n = indices.shape[0], n_rows = indptr.shape[0] - 1
    cdef uint32_t largest = 0, key
    cdef int64_t falls = 0
    cdef const int32_t* keys = &indices[0] if n else NULL
    cdef const int64_t* starts = &indptr[0] if n_rows >= 0 else NULL
    if n_rows < 0 or starts[0] != 0 or starts[n_rows] != n or n_values != n:
        return False
    with nogil:
        for i in range(n_rows):
            falls |= starts[i + 1] - starts[i]  # its sign, once one of them is negative
        for i in range(n):
            key = <uint32_t> keys[i]  # a negative one is large
            largest = max(largest, key)
    return falls >= 0 and (n == 0 or largest < feature_dim)
