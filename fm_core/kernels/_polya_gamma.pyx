# distutils: depends = fm_core/kernels/cpu.h fm_core/kernels/draw.h fm_core/kernels/polya_gamma_rows.h
"""Polya-Gamma numbers, and what the rows of a classifier need between two sweeps: polya_gamma.h, by many threads."""

from cython.parallel cimport prange
from libc.stdint cimport uint32_t

from fm_core.kernels.checks cimport need_room, need_threads

import numpy as np

__all__ = ["builds", "polya_gamma", "turn_rows", "use"]

cdef extern from "polya_gamma.h" nogil:
    enum:
        PG_ROWS
    ctypedef struct pg_rows:
        float* records
        ptrdiff_t stride
        ptrdiff_t k
        float w0
        const uint32_t* key
        uint32_t sweep
        int counts
    ctypedef void pg_rows_function(const pg_rows* a, ptrdiff_t begin, ptrdiff_t end, double* sums) noexcept nogil
    ctypedef void pg_draw_function(
        const pg_rows* a, const float* z, ptrdiff_t first, ptrdiff_t n, float* om
    ) noexcept nogil
    pg_rows_function* pg_build(int i, pg_draw_function** draw)

cdef uint32_t PARITY = 0x1BD11BDA

# By the numbers of cpu.h.
NAMES = ("avx512", "avx2", "generic")
cdef pg_rows_function* rows_of_build = NULL
cdef pg_draw_function* draw_of_build = NULL


def builds():
    """Names of the builds that this processor can run, fastest first. Of this module, all draw the same bits."""
    cdef pg_draw_function* draw
    return tuple(name for i, name in enumerate(NAMES) if pg_build(i, &draw) != NULL)


def use(name):
    """Draw with the build of that name from now on."""
    global rows_of_build
    if name not in builds():
        raise ValueError(f"{name!r} is not one of the builds that run here: {', '.join(builds())}")
    rows_of_build = pg_build(NAMES.index(name), &draw_of_build)


cdef int _take_key(const uint32_t[::1] key, uint32_t* keys) except -1:
    cdef int i
    if key.shape[0] != 4:
        raise ValueError(f"the key has {key.shape[0]} words, expected 4")
    keys[4] = PARITY
    for i in range(4):
        keys[i] = key[i]
        keys[4] ^= key[i]
    return 0


def polya_gamma(const float[::1] c, const uint32_t[::1] key, sweep=0, first=0):
    """Draw from PG(1, c).

    Parameters
    ----------
    c : ndarray of float32, shape (n,)
    key : ndarray of uint32, shape (4,)
        Of Threefry.
    sweep, first : int
        Element i has the numbers of row ``first + i`` of that sweep.

    Returns
    -------
    om : ndarray of float32, shape (n,)
    """
    found = np.empty(c.shape[0], np.float32)
    cdef float[::1] om = found
    cdef uint32_t keys[5]
    cdef pg_rows a
    cdef Py_ssize_t at, n = c.shape[0], from_ = first
    _take_key(key, keys)
    a.key, a.sweep = keys, sweep
    for at in range(0, n, PG_ROWS):
        draw_of_build(&a, &c[at], from_ + at, min(<Py_ssize_t> PG_ROWS, n - at), &om[at])
    return found


def turn_rows(
    float[:, ::1] records, Py_ssize_t k, double w0, const uint32_t[::1] key, sweep, int counts, int num_threads=1
):
    """Between two sweeps: add each row's score to its sums, and draw its weight for the next one.

    Parameters
    ----------
    records : ndarray of float32, shape (n_rows, stride)
        See _bayes.pxi: the weight, place k + 2, and the sums of the score and of its logistic function, places k + 4
        and k + 5, are changed.
    k : int
        Number of factors.
    w0 : float
    key : ndarray of uint32, shape (4,)
    sweep : int
        The next one's number.
    counts : int
        Samples in the sums, this one with them; 1: they begin anew.
    num_threads : int
        The result does not depend on it.

    Returns
    -------
    sums : ndarray of float64, shape (2,)
        Over all rows: of the new weights om, and of kappa - om z.
    """
    cdef Py_ssize_t n = records.shape[0], c, n_chunks = (n + PG_ROWS - 1) // PG_ROWS
    parts = np.zeros((max(1, n_chunks), 2))
    cdef double[:, ::1] sums = parts
    cdef uint32_t keys[5]
    need_room("columns of records", records.shape[1], k + 6)
    need_room("factors", k, 0)
    need_threads(num_threads)
    cdef pg_rows a
    _take_key(key, keys)
    if n == 0:
        return parts[0]
    a.records, a.stride, a.k, a.w0 = &records[0, 0], records.shape[1], k, <float> w0
    a.key, a.sweep, a.counts = keys, sweep, counts
    for c in prange(n_chunks, num_threads=num_threads, schedule="static", nogil=True):
        rows_of_build(&a, c * PG_ROWS, min(n, (c + 1) * PG_ROWS), &sums[c, 0])
    return parts.sum(axis=0)


use(builds()[0])
