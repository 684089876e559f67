"""The library where Linux's own calls are absent, as on macOS and Windows: simulated by taking them away."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

#: What a process loses: names of `os`, `mmap` and `signal`, and modules that cannot be imported.
ABSENT = {
    "macOS": (
        ["os.sched_getaffinity", "os.posix_fadvise", "os.POSIX_FADV_DONTNEED", "os.fdatasync", "os.memfd_create",
         "os.posix_fallocate", "mmap.MADV_NOHUGEPAGE", "mmap.MADV_HUGEPAGE", "os.sched_setaffinity"],
        [],
    ),
    "Windows": (
        ["os.sched_getaffinity", "os.posix_fadvise", "os.POSIX_FADV_DONTNEED", "os.fdatasync", "os.memfd_create",
         "os.posix_fallocate", "mmap.MADV_NOHUGEPAGE", "mmap.MADV_HUGEPAGE", "mmap.MAP_PRIVATE", "mmap.MAP_ANONYMOUS",
         "mmap.MAP_SHARED", "mmap.PROT_READ", "os.O_NOFOLLOW", "os.O_CLOEXEC", "os.O_DIRECTORY", "os.O_NONBLOCK",
         "os.pread", "os.pwrite", "os.preadv", "os.sendfile", "os.fork", "os.mkfifo", "os.getuid", "os.geteuid",
         "os.fchmod", "os.statvfs", "os.sysconf", "os.killpg", "os.uname", "os.register_at_fork", "os.readv",
         "signal.SIGKILL", "signal.SIGHUP", "signal.SIGPIPE", "signal.pthread_sigmask", "socket.AF_UNIX"],
        ["fcntl", "resource", "termios", "pwd", "grp"],
    ),
}  # fmt: skip

USE = """
import sys
import importlib, mmap, os, pkgutil, signal, socket, tempfile
import numpy, scipy.sparse
for name in sys.argv[2].split(","):
    module, _, attribute = name.partition(".")
    if hasattr(sys.modules[module], attribute):
        delattr(sys.modules[module], attribute)
for name in filter(None, sys.argv[3].split(",")):
    sys.modules[name] = None

import fm_core
for found in pkgutil.walk_packages(fm_core.__path__, "fm_core."):
    if found.name.startswith("fm_core.cluster") or "torch" in found.name or found.name.endswith("__main__"):
        continue  # several hosts and GPUs are for Linux
    importlib.import_module(found.name)

from fm_core.cli import main
os.chdir(sys.argv[1])
with open("t.csv", "w") as file:
    file.write("user,film,label\\n" + "".join(f"u{i % 7},f{i % 5},{(i * 7) % 3}\\n" for i in range(200)))
assert main(["convert", "t.csv", "t.recordio", "--label", "label"]) == 0
rng = numpy.random.default_rng(0)
rows = scipy.sparse.random(300, 20, 0.3, "csr", numpy.float32, random_state=0)
regressor = fm_core.FMRegressor(epochs=2, num_factors=3).fit(rows, rng.normal(size=300))
regressor.save("model")
again = fm_core.FMRegressor.load("model")
assert (again.predict(rows) == regressor.predict(rows)).all()
assert main(["inspect", "model"]) == 0
print("done")
"""


@pytest.mark.parametrize("system", ABSENT)
def test_everything_but_several_hosts_goes_without_what_linux_alone_has(system, tmp_path):
    names, modules = ABSENT[system]
    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path), ",".join(names), ",".join(modules)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "done"
