"""The table of Cython extensions and their flags, nothing else.

The kernels are one text compiled once per instruction set; which build runs is chosen
when fm_core.kernels is imported. Where all widths of registers give the same bits, as in
draw.h and varints.h, they are functions of one module instead, which ask the processor.
Only the narrow floating-point flags below are used: -ffast-math would also make the whole
process flush subnormals when it reaches the linker, and would drop the NaN checks.
"""

import os
import platform

from Cython.Build import cythonize
from setuptools import Extension, setup

MATH = ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"]
OPENMP = ["-fopenmp"]
# -Wno-psabi: the vectors of simd.h are never passed from one object file to another.
# CYTHON_INLINE: left to itself GCC calls an optimizer's update, which then works through memory: .95 of the time.
INLINE = ["-DCYTHON_INLINE=inline __attribute__((always_inline))"]
KERNEL = ["-O3", "-Wno-psabi", *INLINE, *MATH, *OPENMP]
X86 = platform.machine() in ("x86_64", "AMD64")

# name: (compile flags, link flags)
EXTENSIONS = {
    "fm_core.formats.tables._columns": (["-O3"], []),
    "fm_core.formats.recordio._decode": (["-O3"], []),
    "fm_core.formats.recordio._encode": (["-O3"], []),
    "fm_core.formats.requests._instances": (["-O3"], []),
    "fm_core.formats.text._text": (["-O3"], []),
    "fm_core.kernels._dirty_rows": (["-O3"], []),
    # Not fused, so that every processor draws the same initial values.
    "fm_core.kernels._draw": (["-O3", "-Wno-psabi", "-ffp-contract=off", *OPENMP], OPENMP),
    "fm_core.kernels._group": (["-O3"], []),
    "fm_core.kernels._metrics": (["-O3"], []),
    "fm_core.kernels._ranking": (["-O3", *MATH], []),
    "fm_core.kernels._retrieval": (["-O3", "-Wno-psabi", *OPENMP], OPENMP),
    "fm_core.kernels._sharded": (KERNEL, OPENMP),
    "fm_core.kernels._generic": (KERNEL, OPENMP),
}
if X86:
    EXTENSIONS |= {
        "fm_core.kernels._avx2": ([*KERNEL, "-mavx2", "-mfma", "-mprfchw"], OPENMP),
        "fm_core.kernels._avx512": (
            [
                *KERNEL,
                "-mavx512f",
                "-mavx512bw",
                "-mavx512dq",
                "-mavx512vl",
                "-mfma",
                "-mprfchw",
                "-mprefer-vector-width=512",
            ],
            OPENMP,
        ),
    }

setup(
    options={"build_ext": {"parallel": len(os.sched_getaffinity(0))}},
    ext_modules=cythonize(
        [
            Extension(name, [name.replace(".", "/") + ".pyx"], extra_compile_args=compile_args, extra_link_args=link)
            for name, (compile_args, link) in EXTENSIONS.items()
        ],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "binding": True,
        },
    ),
)
