"""SageMaker's training and inference contract, translated into calls on fm_core."""

import os

# Read by NumPy's BLAS when it is loaded. Its threads spin before they sleep, .07 s of CPU for each process that
# starts, and what multiplies here is fm_core's own or runs on one thread a worker.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
