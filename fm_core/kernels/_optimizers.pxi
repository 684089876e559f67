# The optimizers: what each does to a parameter and its state, once its gradient is known. Each formula stands
# here alone, for a block of factors and for one number, and serves the sparse, the dense and the sharded kernels.
# interface.py states the formulas and has the table of optimizers; reference.py is their plain form.

from libc.math cimport sqrtf

from fm_core.kernels.checks cimport need
from fm_core.kernels.simd cimport (
    lanes, lanes_clip, lanes_load, lanes_set, lanes_sqrt, lanes_store, lanes_where_zero,
)


cdef enum Optimizer:
    ADAM = 0
    SGD = 1
    ADAGRAD = 2
    FTRL = 3


cdef struct Rates:
    float lr
    float wd


# interface.Step
cdef struct Rule:
    Optimizer optimizer
    float rescale_grad
    float clip_gradient      # not positive: none
    float eps
    Rates bias
    Rates linear
    Rates factors
    bint use_bias
    bint use_linear


cdef Rule _rule(step):
    cdef Rule rule
    rule.optimizer = <Optimizer> <int> step.optimizer
    rule.rescale_grad = step.rescale_grad
    rule.clip_gradient = step.clip_gradient
    rule.eps = step.eps
    rule.bias = Rates(step.bias_lr, step.bias_wd)
    rule.linear = Rates(step.linear_lr, step.linear_wd)
    rule.factors = Rates(step.factors_lr, step.factors_wd)
    rule.use_bias, rule.use_linear = step.use_bias, step.use_linear
    return rule


cdef inline int need_states(const Rule* rule, Py_ssize_t found, Py_ssize_t width) except -1:
    cdef Py_ssize_t n = 2
    if rule.optimizer == SGD:
        n = 0
    elif rule.optimizer == ADAGRAD:
        n = 1
    need("columns of the state", found, n * width)
    return 0


# The same four formulas twice: for a block of factors, and for one number (w_i and w0).


# A block of n parameters that lie side by side and share their rates; g is the gradient, the second state
# lies `stride` behind the first.

cdef inline void _update_lanes(
    float* p, float* state, Py_ssize_t stride, lanes g, int n, const Rule* rule, Rates rates
) noexcept nogil:
    cdef lanes theta = lanes_load(p, n), a, b, root
    cdef float lr = rates.lr, wd = rates.wd
    # 1 - beta in float32, as MXNet has it: that is 1.3e-5 less than .001, and shows in the parameters
    cdef float one = 1, beta1 = 0.9, beta2 = 0.999, rest1 = one - beta1, rest2 = one - beta2, slope
    g = g * rule.rescale_grad
    if rule.optimizer != FTRL:
        g = g + wd * theta
    if rule.clip_gradient > 0:
        g = lanes_clip(g, rule.clip_gradient)
    if rule.optimizer == ADAM:
        a = beta1 * lanes_load(state, n) + rest1 * g
        b = beta2 * lanes_load(state + stride, n) + rest2 * g * g
        lanes_store(state, a, n)
        lanes_store(state + stride, b, n)
        theta = theta - lr * a / (lanes_sqrt(b) + rule.eps)
    elif rule.optimizer == SGD:
        theta = theta - lr * g
    elif rule.optimizer == ADAGRAD:
        a = lanes_load(state, n) + g * g
        lanes_store(state, a, n)
        theta = theta - lr * g / (lanes_sqrt(a) + rule.eps)
    elif lr > 0:
        slope = one / lr
        b = lanes_load(state + stride, n)
        a = lanes_where_zero(b, lanes_set(-(slope + wd)) * theta, lanes_load(state, n))
        root = lanes_sqrt(b)
        b = b + g * g
        a = a + g - (lanes_sqrt(b) - root) * slope * theta
        lanes_store(state, a, n)
        lanes_store(state + stride, b, n)
        theta = lanes_set(-one) * a / ((lanes_sqrt(b) + one) * slope + wd)
    lanes_store(p, theta, n)


# The same of one parameter: w_i or w0.

cdef inline void _update_one(
    float* p, float* state, Py_ssize_t stride, float g, const Rule* rule, Rates rates
) noexcept nogil:
    cdef float theta = p[0], a, b, root, lr = rates.lr, wd = rates.wd
    cdef float one = 1, beta1 = 0.9, beta2 = 0.999, rest1 = one - beta1, rest2 = one - beta2
    g = g * rule.rescale_grad
    if rule.optimizer != FTRL:
        g = g + wd * theta
    if rule.clip_gradient > 0:
        g = rule.clip_gradient if g > rule.clip_gradient else g
        g = -rule.clip_gradient if g < -rule.clip_gradient else g
    if rule.optimizer == ADAM:
        a = beta1 * state[0] + rest1 * g
        b = beta2 * state[stride] + rest2 * g * g
        state[0] = a
        state[stride] = b
        p[0] = theta - lr * a / (sqrtf(b) + rule.eps)
    elif rule.optimizer == SGD:
        p[0] = theta - lr * g
    elif rule.optimizer == ADAGRAD:
        a = state[0] + g * g
        state[0] = a
        p[0] = theta - lr * g / (sqrtf(a) + rule.eps)
    elif lr > 0:
        b = state[stride]
        a = state[0] if b != 0 else -(1 / lr + wd) * theta
        root = sqrtf(b)
        b = b + g * g
        a = a + g - (sqrtf(b) - root) / lr * theta
        state[0] = a
        state[stride] = b
        p[0] = -a / ((sqrtf(b) + 1) / lr + wd)
