"""How many cores this process may use: affinity and cgroup limits included.

A container with `--cpus 2` on a machine of 64 cores sees 64 of them. Threads beyond
the quota are throttled together, so the quota is what counts.
"""

import os
from pathlib import Path

__all__ = ["usable_cores"]


def usable_cores(cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Count the cores this process may use, at least 1.

    Parameters
    ----------
    cgroups : Path
        Where control groups are mounted, version 1 or 2.
    membership : Path
        The groups of this process: lines ``id:controllers:path``.

    Returns
    -------
    cores : int
        The lower of the affinity mask and the CPU quota of the group or of any group above it.
        A part of a core is left out: one thread too many waits for the others at every batch.
    """
    cores = len(os.sched_getaffinity(0))
    for quota in _quotas(cgroups, membership):
        cores = min(cores, int(quota))
    return max(1, cores)


def _quotas(cgroups: Path, membership: Path) -> list[float]:
    """Every CPU quota that binds this process, in cores."""
    quotas = []
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            quotas += [_quota_v2(folder) for folder in _upwards(cgroups, path)]
        elif "cpu" in controllers.split(","):
            quotas += [
                _quota_v1(folder) for name in ("cpu", "cpu,cpuacct") for folder in _upwards(cgroups / name, path)
            ]
    return [quota for quota in quotas if quota is not None]


def _upwards(root: Path, path: str) -> list[Path]:
    # Inside a container the mount often shows the group as its root while /proc names the host's path:
    # folders that are not there say nothing, and the root is always asked.
    folder = root / path.lstrip("/")
    return [folder, *(parent for parent in folder.parents if parent == root or root in parent.parents)]


def _quota_v2(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_v1(folder: Path) -> float | None:
    quota = _read(folder / "cpu.cfs_quota_us").strip()
    period = _read(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
