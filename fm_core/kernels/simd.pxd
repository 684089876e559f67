# Several floats as one value, as wide as a register of the build: see simd.h.

cdef extern from "simd.h" nogil:
    enum:
        FULL "LANES"  # lanes of a full block: 16 with AVX-512, 8 with AVX2, else 4
    ctypedef float lanes
    lanes lanes_zero()
    lanes lanes_set(float x)
    lanes lanes_load(const float* p, int n)
    void lanes_store(float* p, lanes a, int n)
    lanes lanes_sqrt(lanes a)
    lanes lanes_clip(lanes a, float c)
    lanes lanes_where_zero(lanes n, lanes a, lanes b)
    float lanes_sum(lanes a)
    void lanes_prefetch(const float* p, Py_ssize_t n)
    void lanes_prefetch_to_write(const float* p, Py_ssize_t n)
