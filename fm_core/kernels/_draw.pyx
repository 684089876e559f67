# distutils: depends = fm_core/kernels/draw_rows.h fm_core/kernels/cpu.h
"""Initial values of parameters, drawn by draw.h: which numbers they are, and which threads draw which rows."""

from cython.parallel cimport prange
from libc.stdint cimport uint32_t

from fm_core.kernels.checks cimport need_room, need_threads

__all__ = ["builds", "draw", "use"]

cdef extern from "draw.h" nogil:
    int DRAW_CONSTANT, DRAW_UNIFORM, DRAW_NORMAL
    ctypedef struct draw_kind:
        int method
        float scale
    ctypedef void draw_rows_function(
        float* params, ptrdiff_t k, ptrdiff_t begin, ptrdiff_t end, uint32_t first, uint32_t every,
        const uint32_t* key, uint32_t stream, draw_kind factors, draw_kind linear,
    ) noexcept nogil
    draw_rows_function* draw_build(int i)

METHODS = {"constant": DRAW_CONSTANT, "uniform": DRAW_UNIFORM, "normal": DRAW_NORMAL}

cdef uint32_t PARITY = 0x1BD11BDA
# Rows a task: so many that starting it costs nothing.
cdef ptrdiff_t ROWS = 1024

# By the numbers of cpu.h.
NAMES = ("avx512", "avx2", "generic")
cdef draw_rows_function* rows = NULL


def builds():
    """Names of the builds that this processor can run, fastest first. Of this module, all draw the same bits."""
    return tuple(name for i, name in enumerate(NAMES) if draw_build(i) != NULL)


def use(name):
    """Draw with the build of that name from now on."""
    global rows
    if name not in builds():
        raise ValueError(f"{name!r} is not one of the builds that run here: {', '.join(builds())}")
    rows = draw_build(NAMES.index(name))


def draw(float[:, ::1] params, const uint32_t[::1] key, factors, linear, first=0, every=1, stream=0, num_threads=1):
    """Draw rows ``[v_i | w_i]``.

    Parameters
    ----------
    params : ndarray of float32, shape (n_rows, num_factors + 1)
        Changed in place; without factors there are only linear weights.
    key : ndarray of uint32, shape (4,)
        Of Threefry; what the seed is made into.
    factors, linear : (str, float)
        How they are drawn: ``("constant", value)``, ``("uniform", scale)`` from [-scale, scale), or
        ``("normal", sigma)``.
    first, every : int
        Row r has the numbers of row ``first + every * r``.
    stream : int
        Another one has numbers of its own.
    num_threads : int
        The result does not depend on it.
    """
    cdef ptrdiff_t n = params.shape[0], k = params.shape[1] - 1, i, n_tasks = (n + ROWS - 1) // ROWS
    cdef draw_kind of_factors, of_linear
    cdef uint32_t keys[5]
    cdef uint32_t start = first, step = every, number = stream
    cdef int threads = max(1, min(num_threads, n_tasks))
    cdef float* data
    need_threads(num_threads)
    need_room("columns of parameters", k, 0)
    if key.shape[0] != 4:
        raise ValueError(f"the key has {key.shape[0]} words, expected 4")
    of_factors.method, of_factors.scale = METHODS[factors[0]], factors[1]
    of_linear.method, of_linear.scale = METHODS[linear[0]], linear[1]
    if n == 0:
        return
    data = &params[0, 0]
    keys[4] = PARITY
    for i in range(4):
        keys[i] = key[i]
        keys[4] ^= key[i]
    for i in prange(n_tasks, num_threads=threads, schedule="static", nogil=True):
        rows(data, k, i * ROWS, min(n, (i + 1) * ROWS), start, step, keys, number, of_factors, of_linear)


use(builds()[0])
