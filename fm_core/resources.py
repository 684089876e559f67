"""The cores, memory and GPUs that this process may use, within the limits of its control groups.

A container with `--cpus 2` on a machine with 64 cores sees all 64. Threads beyond the
quota are throttled together, so the quota is what counts; with memory it is the same.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["available_memory", "usable_cores", "usable_memory", "visible_gpus"]

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_MEMINFO = Path("/proc/meminfo")


def usable_cores(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
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
        The lower of the affinity mask and the CPU quota of the group, or of any group above it.
        A part of a core is left out: one thread too many waits for the others at every batch.
    """
    limits = _limits(cgroups, membership, "cpu", _cores_v2, _cores_v1)
    return max(1, int(min([_allowed_cores(), *limits])))


def usable_memory(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Count the bytes this process may use: the machine's memory, or the limit of a group if that is lower.

    Parameters
    ----------
    cgroups, membership : Path
        As for `usable_cores`.

    Returns
    -------
    n_bytes : int
    """
    limits = _limits(cgroups, membership, "memory", _bytes_v2, _bytes_v1)
    return int(min([_memory_there_is(), *limits]))


def available_memory(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP, meminfo: Path = _MEMINFO) -> int:
    """Count the bytes this process can still allocate before the machine or one of its groups runs out.

    Parameters
    ----------
    cgroups, membership : Path
        As for `usable_cores`.
    meminfo : Path
        The file ``/proc/meminfo`` of the machine.

    Returns
    -------
    n_bytes : int
    """
    limits = _limits(cgroups, membership, "memory", _bytes_left_v2, _bytes_left_v1)
    found = re.search(r"^MemAvailable: *(\d+) kB", _read(meminfo), re.MULTILINE)
    machine = int(found[1]) * 1024 if found else usable_memory(cgroups, membership)
    return max(0, int(min([machine, *limits])))


def visible_gpus(devices: Path = Path("/dev")) -> int:
    """Count the NVIDIA GPUs of this container: ``/dev/nvidia0`` and so on; under WSL there is at most one.

    Parameters
    ----------
    devices : Path
        The folder of devices.

    Returns
    -------
    n : int
    """
    try:
        names = [entry.name for entry in devices.iterdir()]
    except OSError:
        return 0
    return sum(re.fullmatch(r"nvidia\d+|dxg", name) is not None for name in names)


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_there_is() -> int:
    """The machine's bytes; without bound where it does not say."""
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 2**63


def _limits(
    cgroups: Path,
    membership: Path,
    controller: str,
    limit_v2: Callable[[Path], float | None],
    limit_v1: Callable[[Path], float | None],
) -> list[float]:
    """Find every limit on this process, of its groups and those above them."""
    limits = []
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += [limit_v2(folder) for folder in _upwards(cgroups, path)]
        elif controller in controllers.split(","):
            roots = {cgroups / controller, cgroups / controllers}  # mounted as cpu, or as cpu,cpuacct
            limits += [limit_v1(folder) for root in roots for folder in _upwards(root, path)]
    return [limit for limit in limits if limit is not None]


def _upwards(root: Path, path: str) -> Iterator[Path]:
    # Inside a container the mount often shows the group as its root while /proc names the host's path:
    # folders that are not there say nothing, and the root is always asked.
    folder = root / path.lstrip("/")
    while folder != root:
        yield folder
        folder = folder.parent
    yield root


def _cores_v2(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _cores_v1(folder: Path) -> float | None:
    quota = _read(folder / "cpu.cfs_quota_us").strip()
    period = _read(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _bytes_v2(folder: Path) -> float | None:
    text = _read(folder / "memory.max").strip()
    return int(text) if text.isdigit() else None


def _bytes_v1(folder: Path) -> float | None:
    text = _read(folder / "memory.limit_in_bytes").strip()
    return int(text) if text.isdigit() else None


def _bytes_left_v2(folder: Path) -> float | None:
    limit = _bytes_v2(folder)
    return None if limit is None else limit - _in_use(folder, "memory.current", "inactive_file")


def _bytes_left_v1(folder: Path) -> float | None:
    limit = _bytes_v1(folder)
    return None if limit is None else limit - _in_use(folder, "memory.usage_in_bytes", "total_inactive_file")


def _in_use(folder: Path, usage: str, of_files: str) -> int:
    """Count the bytes a group uses, without the page cache, which is freed on demand."""
    used = _read(folder / usage).strip()
    cached = re.search(rf"^{of_files} (\d+)", _read(folder / "memory.stat"), re.MULTILINE)
    return max(0, (int(used) if used.isdigit() else 0) - (int(cached[1]) if cached else 0))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
