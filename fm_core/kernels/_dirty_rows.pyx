"""Which rows of the parameters have changed, and a copy of them that is kept up with little work.

A bit for each row says whether it changed since the copy was last brought up to date. Features come
in rising order, so marking those of a batch walks through the bits once: a byte for each row instead
took four times as long, the caches being full of parameters. Bringing the copy up to date is a memcpy for
each row that changed; one thread does it as fast as two, since memory is what it waits for. No GIL is held.
"""

from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcpy

from fm_core.kernels.checks cimport need, need_room


def mark(const int32_t[::1] features, uint64_t[::1] changed):
    """Set the bits of `features`."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(features.shape[0]):
            changed[features[i] >> 6] |= <uint64_t> 1 << (features[i] & 63)


def collect(uint64_t[::1] changed, unsigned char[::1] changed_ever):
    """Move the bits to the bytes of `changed_ever`, which keep what they have."""
    cdef Py_ssize_t word, i, n = changed_ever.shape[0]
    need_room("words of bits", changed.shape[0], (n + 63) // 64)
    with nogil:
        for word in range(changed.shape[0]):
            if changed[word]:
                for i in range(word * 64, min(n, word * 64 + 64)):
                    changed_ever[i] |= changed[word] >> (i & 63) & 1
                changed[word] = 0


def refresh(
    const float[:, ::1] params, float[:, ::1] params_copy, const float[:, ::1] state, float[:, ::1] state_copy,
    const uint64_t[::1] changed,
):
    """Copy the rows whose bits are set."""
    cdef Py_ssize_t word, i, n = params.shape[0], width = params.shape[1], state_width = state.shape[1]
    need("rows of the copy", params_copy.shape[0], n)
    need("columns of the copy", params_copy.shape[1], width)
    need("rows of the state", state.shape[0], n)
    need("rows of the state's copy", state_copy.shape[0], n)
    need("columns of the state's copy", state_copy.shape[1], state_width)
    with nogil:
        for word in range(changed.shape[0]):
            if changed[word]:
                for i in range(word * 64, min(n, word * 64 + 64)):
                    if changed[word] >> (i & 63) & 1:
                        memcpy(&params_copy[i, 0], &params[i, 0], width * sizeof(float))
                        memcpy(&state_copy[i, 0], &state[i, 0], state_width * sizeof(float))
