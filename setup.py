"""The table of Cython extensions and their flags, nothing else.

A text of kernels is compiled once per instruction set; which build runs is chosen when fm_core.kernels
is imported. Where all widths of registers give the same bits, as in draw.h and varints.h, they are
functions of one module instead, which ask the processor. What Cython needs in every module (views of
arrays, above all) is compiled once, as fm_core._cyutility: half the time of a build.
Only the narrow floating-point flags below are used: -ffast-math would also make the whole
process flush subnormals when it reaches the linker, and would drop the NaN checks.
"""

import os
import re
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


def has_openmp() -> bool:
    """Whether the compiler makes programs of threads: Apple's does not, and FM_OPENMP=0 forgoes it."""
    if os.environ.get("FM_OPENMP") == "0":
        return False
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "threads.c")
        source.write_text("#include <omp.h>\nint threads(void) { return omp_get_max_threads(); }\n")
        command = [*compiler, "-fopenmp", "-shared", "-fPIC", str(source), "-o", f"{folder}/threads.so"]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


# Reading debug information takes the compiler a quarter of its time. Who asks for it gets it.
DEBUG = [] if "-g" in os.environ.get("CFLAGS", "") else ["-g0"]
FAST = ["-O3", *DEBUG]
MATH = ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"]
OPENMP = ["-fopenmp"] if has_openmp() else []
# -Wno-psabi: the vectors of simd.h are never passed from one object file to another.
# OWN_INLINE: left to itself GCC calls an optimizer's update, which then works through memory: .95 of the time. See
# `inline_own`.
INLINE = ["-DOWN_INLINE=inline __attribute__((always_inline))"]
# Functions of their own, on the other hand, are what threads call: within the region's, GCC runs out of registers.
OUTLINE = ["-fno-inline-functions-called-once"]
KERNEL = [*FAST, "-Wno-psabi", *INLINE, *OUTLINE, *MATH, *OPENMP]

# The builds of a text of kernels: fm_core/kernels/_{text}_{build}.pyx includes it.
TEXTS = ["bayes", "minibatch", "online", "variational"]
BUILDS = {"generic": []}
if sysconfig.get_platform().endswith(("x86_64", "amd64")):  # of what it is built for: see tools/aarch64.py
    BUILDS["avx2"] = ["-mavx2", "-mfma", "-mprfchw"]
    BUILDS["avx512"] = [
        *["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprfchw"],
        "-mprefer-vector-width=512",
    ]

# name: (compile flags, link flags)
EXTENSIONS = {
    f"fm_core.kernels._{text}_{build}": ([*KERNEL, *flags], OPENMP) for build, flags in BUILDS.items() for text in TEXTS
} | {
    "fm_core.formats.tables._columns": (FAST, []),
    "fm_core.formats.tables._values": (FAST, []),
    "fm_core.formats.recordio._decode": (FAST, []),
    "fm_core.formats.recordio._encode": (FAST, []),
    "fm_core.formats.requests._instances": (FAST, []),
    "fm_core.formats.requests._json_items": (FAST, []),
    "fm_core.formats.text._text": (FAST, []),
    "fm_core.kernels._bounds": (FAST, []),
    "fm_core.kernels._by_feature": (FAST, []),
    "fm_core.kernels._dirty_rows": (FAST, []),
    # Not fused, so that every processor draws the same initial values.
    "fm_core.kernels._draw": ([*FAST, "-Wno-psabi", "-ffp-contract=off", *OPENMP], OPENMP),
    "fm_core.kernels._eigen": (FAST, []),
    "fm_core.kernels._group": (FAST, []),
    "fm_core.kernels._metrics": (FAST, []),
    "fm_core.kernels._negatives": (FAST, []),
    # As _draw.
    "fm_core.kernels._polya_gamma": ([*FAST, "-Wno-psabi", "-ffp-contract=off", *OPENMP], OPENMP),
    "fm_core.kernels._ranking": ([*FAST, *MATH], []),
    "fm_core.kernels._retrieval": ([*FAST, "-Wno-psabi", *OPENMP], OPENMP),
    "fm_core.kernels._sharded": (KERNEL, OPENMP),
}
SHARED = "fm_core._cyutility"


def inline_own(made: list[Extension]) -> list[Extension]:
    """Have a kernel's own inline functions inlined always, and leave those of Cython, and checks.pxd's, to GCC.

    Both are CYTHON_INLINE in what Cython writes. Inlined always, the code that takes and gives back arrays and raises
    errors is two thirds of the compiler's work and half of a module.
    """
    for extension in made:
        if INLINE[0] in extension.extra_compile_args:
            file = Path(extension.sources[0])
            text = file.read_text()
            own = re.sub(
                r"(?m)^static CYTHON_INLINE (?=.*__pyx_f_7fm_core_7kernels_(?!6checks_))", "static OWN_INLINE ", text
            )
            if own != text:
                file.write_text(own)
    return made


def extensions() -> list[Extension]:
    """Have Cython write what has changed, and give what is to be compiled: the longest first."""
    made = [Extension(SHARED, [SHARED.replace(".", "/") + ".c"], extra_compile_args=FAST)]
    for name, (compile_args, link) in EXTENSIONS.items():
        made.append(
            Extension(name, [name.replace(".", "/") + ".pyx"], extra_compile_args=compile_args, extra_link_args=link)
        )
    return inline_own(
        cythonize(
            made,
            shared_utility_qualified_name=SHARED,
            compiler_directives={
                "language_level": 3,
                "boundscheck": False,
                "wraparound": False,
                "cdivision": True,
                "initializedcheck": False,
                "binding": True,
            },
        )
    )


# FM_EXTENSIONS=0: for `make`, which installs the project and builds its extensions at the same time.
setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=[] if os.environ.get("FM_EXTENSIONS") == "0" else extensions(),
)
