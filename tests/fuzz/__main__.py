"""Search for inputs that break a target, guided by coverage, under the address sanitizer.

    python -m tests.fuzz [TARGET ...] [--seconds 60] [--executions 1000000]

`make fuzz` builds the decoders for it and calls it. Each target runs in a process of its own, from
its seeds and what earlier searches have found interesting (build/fuzz/corpus). An input that breaks
it is kept as tests/golden/findings/TARGET/..., which the ordinary tests replay; commit it with the
repair. Arguments behind `--` go to libFuzzer.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "fuzz"

#: The compiled decoder without the Python around it; its inputs are those of `records`.
CORE = "core"
#: An input takes microseconds; memory far above that of the process itself is a finding.
LIMITS = ["-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=256", "-max_len=2048", "-len_control=0"]
#: Comparisons of arrays in instrumented modules leave their results in memory (atheris 3.0, 150 bytes each), which
#: comes to the limit after some 250,000 schemas: a process ends before that, and another one goes on from the corpus.
RUNS_OF_A_PROCESS = 100_000


class Sanitized:
    """Finds a compiled module in build/fuzz, so that the checkout's own builds stay as they are."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        file = BUILT / f"{name.replace('.', '/')}.so"
        return importlib.util.spec_from_file_location(name, file) if file.exists() else None


def search(target: str, corpus: Path, options: list[str]) -> None:
    """Run libFuzzer in this process; does not return."""
    sys.meta_path.insert(0, Sanitized)
    with atheris.instrument_imports(
        include=[
            "fm_core.formats",
            "fm_core.artifact",
            "fm_core.checkpoints",
            "fm_core.analysis.baseline",
            "fm_core.analysis.catalogue",
            "container.serving.requests",
        ]
    ):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz._core import core

    for module in sys.modules.values():
        file = getattr(module, "__file__", None) or ""
        if file.endswith(".so") and ROOT / "fm_core/formats" in Path(file).parents:
            raise RuntimeError(f"{file} has no sanitizer")
    run = core if target == CORE else TARGETS[target]
    atheris.Setup([sys.argv[0], *LIMITS, *options, str(corpus)], run)
    atheris.Fuzz()


def watched(target: str, seconds: int, enough: int | None, options: list[str]) -> tuple[int, bool]:
    """Search in child processes, one after the other; the number of executions, and whether all ended well."""
    from tests.fuzz.targets import FINDINGS, seeds

    corpus, found = BUILT / "corpus" / target, BUILT / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    kept_as = "records" if target == CORE else target
    for data in seeds(kept_as):
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    executions, ends = 0, time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and (enough is None or executions < enough):
        of_child, code, log = _searched(target, max(1, round(left)), options)
        executions += of_child
        if code:
            print(log)
            for path in found.glob(f"{target}-*"):
                kept = FINDINGS / kept_as / path.name.removeprefix(f"{target}-")
                kept.parent.mkdir(parents=True, exist_ok=True)
                path.rename(kept)
                print(f"kept as {kept.relative_to(ROOT)}")
            return executions, False
        if enough is not None:
            print(f"{target:22} {executions:>12,} so far", flush=True)
        if of_child < RUNS_OF_A_PROCESS:  # the time was up, or `options` say otherwise
            break
    return executions, True


def _searched(target: str, seconds: int, options: list[str]) -> tuple[int, int, str]:
    """Search in a child process; the number of executions, its exit status and what it said."""
    from tests.fuzz.files import FILE_TARGETS  # not above, where the child would import what it has to instrument

    command = [sys.executable, "-m", "tests.fuzz", target, "--inside", "--", f"-max_total_time={seconds}",
               f"-runs={RUNS_OF_A_PROCESS}", f"-artifact_prefix={BUILT / 'found'}/{target}-", "-print_final_stats=1",
               *options]  # fmt: skip
    sanitizer = Path(atheris.path()) / "asan_with_fuzzer.so"
    # Python keeps what it has allocated for good, so leaks are not looked for. numpy has room for
    # any size malloc grants; a size that it does not grant is a MemoryError, not an abort.
    # Python allocates all the time: short traces and a small quarantine make the search faster by half. Most files
    # are read by Python and NumPy alone, which have no sanitizer: with Python's own allocator it makes twice as many.
    settings = "detect_leaks=0:allocator_may_return_null=1:handle_abort=1:malloc_context_size=8:quarantine_size_mb=16"
    allocator = "pymalloc" if target in FILE_TARGETS and target != "catalogue" else "malloc"
    environment = os.environ | {"LD_PRELOAD": str(sanitizer), "ASAN_OPTIONS": settings, "PYTHONMALLOC": allocator}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
                          errors="replace") as child:  # fmt: skip
        assert child.stderr is not None
        lines = []
        for line in child.stderr:
            if not line.startswith(("#", "INFO")) or "DONE" in line:
                lines.append(line)
    log = "".join(lines)
    counted = re.findall(r"stat::number_of_executed_units: (\d+)|Done (\d+) runs", log)
    return max((int(number) for pair in counted for number in pair if number), default=0), child.returncode, log


def main() -> int:
    """Read the command line; 1 if a target was broken."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    options = words[cut + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all of them")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument(
        "--executions", type=int, metavar="N", help="of each target, after which its time is not used up"
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(words[:cut])
    if arguments.inside:
        search(arguments.targets[0], BUILT / "corpus" / arguments.targets[0], options)
    from tests.fuzz.targets import TARGETS

    total, sound = 0, True
    for target in arguments.targets or (CORE, *TARGETS):
        executions, ended_well = watched(target, arguments.seconds, arguments.executions, options)
        print(f"{target:22} {executions:>12,} executions, {'no finding' if ended_well else 'A FINDING'}", flush=True)
        total += executions
        sound &= ended_well
    print(f"{'all':22} {total:>12,} executions")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
