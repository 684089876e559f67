"""Which processors a compiled module is for, by its instructions."""

import re
import subprocess
from pathlib import Path

__all__ = ["misplaced", "newer_functions"]

#: What only newer processors have: the registers, masks and names of their instructions.
_AVX512 = re.compile(r"%zmm|%k[0-7]\b")
_AVX = re.compile(r"%[yz]mm|%k[0-7]\b|\tv[a-z]\w+ ")
_FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$", re.MULTILINE)


def newer_functions(module: Path) -> dict[str, set[str]]:
    """Functions of a module, by what they need besides the x86-64 of 2009: "avx" (AVX2 with it) or "avx512".

    Parameters
    ----------
    module : Path
        An object file. Without its symbols, functions have the name of a section.
    """
    listing = subprocess.run(["objdump", "-d", module], check=True, capture_output=True, text=True).stdout
    found: dict[str, set[str]] = {"avx": set(), "avx512": set()}
    _, *pieces = _FUNCTION.split(listing)
    for name, code in zip(pieces[::2], pieces[1::2], strict=True):
        if _AVX512.search(code):
            found["avx512"].add(name)
        elif _AVX.search(code):
            found["avx"].add(name)
    return found


def misplaced(module: Path) -> set[str]:
    """Functions of a module that need a newer processor than their names, or the module's, tell."""
    found = newer_functions(module)
    stem = module.name.split(".")[0]
    allowed = {"avx2": {"avx"}, "avx512": {"avx", "avx512"}}.get(stem.rpartition("_")[2], set())
    return {
        name
        for needs, names in found.items()
        if needs not in allowed
        for name in names
        if not name.startswith(("avx512_", "avx2_") if needs == "avx" else "avx512_")
    }
