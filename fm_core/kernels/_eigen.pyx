"""Eigenvalues and vectors of a small symmetric matrix, by one thread: the same bits whatever threads a BLAS may take.

EISPACK's way (B. Smith et al., "Matrix Eigensystem Routines: EISPACK Guide", 1976, tred2 and tql2): Householder
reflections to a tridiagonal matrix, then the QL algorithm with implicit shifts.
"""

from libc.math cimport fabs, hypot, sqrt

import numpy as np

__all__ = ["eigen"]

# Of one eigenvalue; three are usual.
cdef enum:
    MOST_ITERATIONS = 60


def eigen(matrix):
    """Decompose a symmetric matrix.

    Parameters
    ----------
    matrix : ndarray of float64, shape (n, n)
        Its lower triangle is read.

    Returns
    -------
    values : ndarray of float64, shape (n,)
        Falling.
    vectors : ndarray of float64, shape (n, n)
        Orthonormal columns.

    Raises
    ------
    ValueError
        A number is not finite.
    """
    if not np.isfinite(matrix).all():
        raise ValueError("the matrix has a number that is not finite")
    n = len(matrix)
    if matrix.ndim != 2 or matrix.shape[1] != n:
        raise ValueError(f"the matrix has shape {matrix.shape}, expected a square one")
    vectors = np.array(matrix, np.float64, order="C")
    _mirror(vectors)
    values, rest = np.zeros(n), np.zeros(n)
    if n:
        _tridiagonal(vectors, values, rest, np.empty(n))
        vectors = np.ascontiguousarray(vectors.T)
        _diagonal(vectors, values, rest)
    order = np.argsort(-values, kind="stable")
    return values[order], np.ascontiguousarray(vectors[order].T)


# Inner loops run along rows, where the compiler does several columns at once: sums over rows are kept for all columns.

cdef void _add_rows(double[:, ::1] V, const double* by, Py_ssize_t n, double* total) noexcept:
    # total[:n] = by[:n] V[:n, :n]
    cdef Py_ssize_t j, k
    cdef const double* row
    cdef double x
    for j in range(n):
        total[j] = 0
    for k in range(n):
        row = &V[k, 0]
        x = by[k]
        for j in range(n):
            total[j] += x * row[j]


cdef void _mirror(double[:, ::1] V):
    # the lower triangle goes to the upper one
    cdef Py_ssize_t i, j
    for i in range(V.shape[0]):
        for j in range(i):
            V[j, i] = V[i, j]


cdef void _tridiagonal(double[:, ::1] V, double[::1] d, double[::1] e, double[::1] room):
    # V becomes the product of the reflections, d the diagonal, e what is beside it from 1 on
    cdef Py_ssize_t n = d.shape[0], i, j, k
    cdef double scale, h, f, g
    cdef double* u
    cdef double* row
    cdef double* of_e = &e[0]
    cdef double* sums = &room[0]
    for i in range(n - 1, 0, -1):
        # the vector u = V[i, :i] is reflected to its last place
        u = &V[i, 0]
        scale = 0
        h = 0
        for k in range(i):
            scale += fabs(u[k])
        if i == 1 or scale == 0:
            e[i] = u[i - 1]
        else:
            for k in range(i):
                u[k] /= scale
                h += u[k] * u[k]
            f = u[i - 1]
            g = -sqrt(h) if f >= 0 else sqrt(h)
            e[i] = scale * g
            h -= f * g
            u[i - 1] = f - g
            f = 0
            _add_rows(V, u, i, of_e)
            for j in range(i):
                V[j, i] = u[j] / h
                e[j] /= h
                f += e[j] * u[j]
            for j in range(i):
                e[j] -= f / (h + h) * u[j]
            for j in range(i):
                row = &V[j, 0]
                f = u[j]
                g = of_e[j]
                for k in range(i):
                    row[k] -= f * of_e[k] + g * u[k]
        d[i] = h
    d[0] = 0
    e[0] = 0
    for i in range(n):
        if d[i] != 0:
            _add_rows(V, &V[i, 0], i, sums)
            for k in range(i):
                row = &V[k, 0]
                f = row[i]
                for j in range(i):
                    row[j] -= sums[j] * f
        d[i] = V[i, i]
        V[i, i] = 1
        for j in range(i):
            V[i, j] = 0
            V[j, i] = 0


cdef void _rotate(double* a, double* b, Py_ssize_t n, double c, double s) noexcept:
    cdef Py_ssize_t k
    cdef double f
    for k in range(n):
        f = b[k]
        b[k] = s * a[k] + c * f
        a[k] = c * a[k] - s * f


cdef void _diagonal(double[:, ::1] V, double[::1] d, double[::1] e):
    # rows of V, which are the eigenvectors in the end, are turned
    cdef Py_ssize_t n = d.shape[0], low, m, i
    cdef int _iteration
    cdef double size, g, r, s, c, p, f, b
    for i in range(1, n):
        e[i - 1] = e[i]
    e[n - 1] = 0
    for low in range(n):
        for _iteration in range(MOST_ITERATIONS):
            m = low
            while m < n - 1:
                size = fabs(d[m]) + fabs(d[m + 1])
                if fabs(e[m]) <= 2.2e-16 * size:
                    break
                m += 1
            if m == low:
                break
            g = (d[low + 1] - d[low]) / (2 * e[low])
            r = hypot(g, 1)
            g = d[m] - d[low] + e[low] / (g + (r if g >= 0 else -r))
            s = 1
            c = 1
            p = 0
            for i in range(m - 1, low - 1, -1):
                f = s * e[i]
                b = c * e[i]
                r = hypot(f, g)
                e[i + 1] = r
                if r == 0:  # the matrix falls into two
                    d[i + 1] -= p
                    e[m] = 0
                    break
                s = f / r
                c = g / r
                g = d[i + 1] - p
                r = (d[i] - g) * s + 2 * c * b
                p = s * r
                d[i + 1] = g + p
                g = c * r - b
                _rotate(&V[i, 0], &V[i + 1, 0], n, c, s)
            else:
                d[low] -= p
                e[low] = g
                e[m] = 0
