"""Whether CSR rows stay within what they point into, and numbers are finite: one walk, before any kernel's."""

from libc.stdint cimport int32_t, int64_t, uint32_t

from fm_core.kernels.checks cimport rows_within


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
    cdef bint is_within
    with nogil:
        is_within = rows_within(indptr, indices, n_values, feature_dim)
    return is_within


def all_finite(const float[::1] values):
    """Whether every number is: one walk, where NumPy takes two or an array of truths.

    Parameters
    ----------
    values : ndarray of float32, shape (n,)

    Returns
    -------
    all_finite : bool
    """
    cdef const uint32_t* bits = <const uint32_t*> &values[0] if values.shape[0] else NULL
    cdef Py_ssize_t i
    cdef uint32_t strange = 0
    with nogil:
        for i in range(values.shape[0]):
            strange |= (bits[i] & 0x7F800000) == 0x7F800000  # the exponent of infinity and NaN
    return not strange
