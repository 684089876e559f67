"""Which rows of the parameters have changed, and a copy of them that is kept up with little work.

Each row has a byte of marks: bit 0, changed since the copy was last brought up to date; bit 1,
changed ever. Marking is done after every batch, so it takes microseconds; bringing the copy up
to date is a memcpy for each row that changed: one thread does it as fast as two, since memory is
what it waits for. No GIL is held.
"""

from libc.stdint cimport int32_t
from libc.string cimport memcpy

cdef enum:
    CHANGED = 1
    CHANGED_EVER = 2


def mark(const int32_t[::1] features, unsigned char[::1] marks):
    """Mark the rows of `features` as changed."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(features.shape[0]):
            marks[features[i]] = CHANGED | CHANGED_EVER


def refresh(
    const float[:, ::1] params, float[:, ::1] params_copy, const float[:, ::1] state, float[:, ::1] state_copy,
    unsigned char[::1] marks,
):
    """Copy the rows that are marked as changed, and unmark them: `marks` keeps what changed ever."""
    cdef Py_ssize_t i, width = params.shape[1], state_width = state.shape[1]
    with nogil:
        for i in range(params.shape[0]):
            if marks[i] & CHANGED:
                memcpy(&params_copy[i, 0], &params[i, 0], width * sizeof(float))
                memcpy(&state_copy[i, 0], &state[i, 0], state_width * sizeof(float))
                marks[i] = CHANGED_EVER
