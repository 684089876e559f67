from fm_core.kernels.bayes_interface import BayesKernels

_build: BayesKernels
sweep = _build.sweep
turn_rows = _build.turn_rows
group_sums = _build.group_sums
gram = _build.gram
project = _build.project
