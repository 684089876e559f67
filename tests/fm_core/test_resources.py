import os
from pathlib import Path

import pytest

from fm_core.resources import available_memory, usable_cores, usable_memory

CORES = len(os.sched_getaffinity(0))
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def write(tmp_path, membership, files):
    (tmp_path / "cgroup").write_text(membership)
    for name, content in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "fs", tmp_path / "cgroup"


V2 = "0::/docker/abc\n"
V1 = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n2:cpuset:/\n1:name=systemd:/\n"


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        (V2, {}, CORES),
        (V2, {"docker/abc/cpu.max": "max 100000\n"}, CORES),
        (V2, {"docker/abc/cpu.max": "100000 100000\n"}, 1),
        (V2, {"docker/abc/cpu.max": "150000 100000\n"}, min(CORES, 1)),
        (V2, {"docker/abc/cpu.max": "30000 100000\n"}, 1),
        (V2, {"docker/abc/cpu.max": "max 100000\n", "docker/cpu.max": "100000 100000\n"}, 1),
        (V2, {"cpu.max": "100000 100000\n"}, 1),
        (V2, {"docker/abc/cpu.max": "999900000 100000\n"}, CORES),
        (V1, {f"cpu,cpuacct/docker/abc/cpu.cfs_{what}_us": "100000\n" for what in ("quota", "period")}, 1),
        (V1, {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
    ],
)  # fmt: skip
def test_the_lowest_quota_counts(tmp_path, membership, files, cores):
    assert usable_cores(*write(tmp_path, membership, files)) == cores


@pytest.mark.parametrize(
    ("membership", "files", "memory"),
    [
        (V2, {"docker/abc/memory.max": "max\n"}, MEMORY),
        (V2, {"docker/abc/memory.max": "1048576\n"}, 1048576),
        (V1, {"memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n"}, MEMORY),
        (V1, {"memory/memory.limit_in_bytes": "2097152\n"}, 2097152),
    ],
)
def test_the_lowest_memory_limit_counts(tmp_path, membership, files, memory):
    assert usable_memory(*write(tmp_path, membership, files)) == memory


def test_a_machine_without_control_groups_is_taken_whole(tmp_path):
    assert usable_cores(tmp_path / "no", tmp_path / "none") == CORES
    assert usable_memory(tmp_path / "no", tmp_path / "none") == MEMORY


def test_affinity_counts():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


MEMINFO = "MemTotal: 100 kB\nMemAvailable:   8000 kB\n"


@pytest.mark.parametrize(
    ("membership", "files", "memory"),
    [
        (V2, {}, 8000 * 1024),
        (V2, {"docker/abc/memory.max": "max\n", "docker/abc/memory.current": "5\n"}, 8000 * 1024),
        (V2, {"docker/abc/memory.max": "5000\n"}, 5000),
        (V2, {"docker/abc/memory.max": "5000\n", "docker/abc/memory.current": "1200\n"}, 3800),
        (V2, {"docker/abc/memory.max": "5000\n", "docker/abc/memory.current": "1200\n",
              "docker/abc/memory.stat": "anon 3\ninactive_file 200\n"}, 4000),
        (V2, {"docker/abc/memory.max": "5000\n", "docker/abc/memory.current": "6000\n"}, 0),
        (V2, {"memory.max": "5000\n", "memory.current": "1000\n", "docker/abc/memory.max": "4500\n"}, 4000),
        (V1, {"memory/memory.limit_in_bytes": "5000\n", "memory/memory.usage_in_bytes": "1200\n",
              "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 200\n"}, 4000),
    ],
)  # fmt: skip
def test_what_is_left_is_the_least_of_the_machine_and_its_groups(tmp_path, membership, files, memory):
    (tmp_path / "meminfo").write_text(MEMINFO)
    assert available_memory(*write(tmp_path, membership, files), tmp_path / "meminfo") == memory


def test_this_machine_has_memory_left():
    assert 0 < available_memory() <= MEMORY
    assert available_memory(meminfo=Path("/none")) <= MEMORY
