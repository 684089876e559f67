# Grouping, for who holds no GIL: see _group.pyx.

from libc.stdint cimport int32_t, int64_t

cdef enum:
    SCRATCH_AN_ENTRY = 20  # two words of 64 bits and a row


# CSR rows
cdef struct Entries:
    const int64_t* indptr
    Py_ssize_t n_rows
    const int32_t* indices
    const float* values
    Py_ssize_t n


# What `group` gives
cdef struct Groups:
    int32_t* features
    int64_t* starts
    int32_t* rows
    float* values


cdef Py_ssize_t group_entries(const Entries* a, int64_t feature_dim, void* scratch, const Groups* out) noexcept nogil
