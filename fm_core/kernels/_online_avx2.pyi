from fm_core.kernels.online_interface import OnlineKernels

_build: OnlineKernels
filter_rows = _build.filter_rows
