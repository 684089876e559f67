from fm_core.kernels.variational_interface import VariationalKernels

_build: VariationalKernels
sweep = _build.sweep
turn_rows = _build.turn_rows
