# Tasks shared out among threads: see work_stealing.h.

cdef extern from "work_stealing.h" nogil:
    ctypedef struct tasks:
        pass
    void tasks_deal(tasks* all, int n_threads, Py_ssize_t n)
    Py_ssize_t tasks_next(tasks* all, int n_threads, int me)
    void flag_set(int* flag)
