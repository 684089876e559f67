"""Serverless inference's container: a root that cannot be written to, no /dev/shm, 1 GB, a user without rights."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fm_core.artifact.model_file import save_model
from fm_core.model import Model
from tests.conftest import ROOT
from tests.contract import serving as processes

#: In a mount namespace of its own: $1 is the model's tree, $2 Python's own folder, which others may not be let into.
SCRIPT = r"""
set -e
mount --make-rprivate /
mkdir -p "$3"
mount -t tmpfs tmpfs "$3"
mkdir "$3/tree" "$3/python"
cp -r "$1"/. "$3/tree"
chmod -R a+rX "$3/tree"
mount --bind "$2" "$3/python"
top=/$(echo "$2" | cut -d/ -f2)
if [ "$(stat -c %a "$top" | tail -c 2)" = 0 ]; then
    mount -t tmpfs -o mode=755 tmpfs "$top"
    mkdir -p "$2"
    mount --bind "$3/python" "$2"
fi
mount -t tmpfs -o ro,mode=555 tmpfs /dev/shm
mount --bind / /
mount -o remount,ro,bind /
mount -t tmpfs -o mode=1777,size=512m tmpfs /tmp
if touch /x 2>/dev/null; then echo "the root can be written to" >&2; exit 3; fi
cd "$4"
export FM_OPT_ML="$3/tree"
exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "$5" -m container.serve
"""


def may_mount():
    if os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))):
        return False
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="mounts need root and unshare(1)")


@pytest.fixture
def group():
    """A control group of 1 GB, and what puts a process into it; skipped over where there is none to be made."""
    for folder in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        made = folder / f"fm-serverless-{os.getpid()}"
        limit = "memory.limit_in_bytes" if folder.name == "memory" else "memory.max"
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            (made / limit).write_text(str(2**30))
        except OSError:
            made.rmdir()
            continue
        yield made
        made.rmdir()
        return
    yield None


@pytest.fixture
def server(tmp_path, group, monkeypatch):
    place = Path(f"/mnt/fm-{os.getpid()}")
    random = np.random.default_rng(0)
    (tmp_path / "tree/model").mkdir(parents=True)
    model = Model("binary_classifier", 0.5, random.random(100, np.float32), random.random((100, 8), np.float32))
    save_model(tmp_path / "tree/model/model_algo-1", model, {})
    if not os.access("/mnt", os.W_OK):
        pytest.skip("/mnt cannot be written to")
    arguments = [tmp_path / "tree", sys.base_prefix, place, ROOT, sys.executable]
    command = ["unshare", "-m", "bash", "-c", SCRIPT, "serverless", *map(str, arguments)]
    if group is not None:
        # The shell goes into the group before it becomes what serves.
        command = ["bash", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "in-group", *command]
    monkeypatch.setattr(processes, "COMMAND", command)
    try:
        with processes.serving(tmp_path / "tree", tmp_path) as server:
            yield server
    finally:
        if place.exists():
            place.rmdir()


def test_it_serves_where_nothing_can_be_written_to(server, group):
    owner = Path(f"/proc/{server.process.pid}").stat().st_uid
    assert owner == 65534
    assert server.invoke({"instances": [{"keys": [1], "values": [1]}]})[0] == 200
    lines = b'{"keys":[1,5,9],"values":[1,2,0.5]}\n' * 110_000  # 4 MB, which is the most that serverless takes
    status, _, body = server.invoke(lines, "application/jsonlines")
    assert status == 200
    assert body.count(b"score") == 110_000
    for content_type, large in (("text/csv", b"1," * 99 + b"1\n"), ("text/libsvm", b"0:1 7:2\n")):
        status, _, body = server.invoke(large * (4 * 2**20 // len(large)), content_type, "text/csv")
        assert status == 200, body
    assert b"fm_rows_total" in server.ask("GET", "/metrics")[2]
    if group is not None:
        used = (group / ("memory.max_usage_in_bytes" if group.parent.name == "memory" else "memory.peak")).read_text()
        assert int(used) < 2**30
    server.process.terminate()
    assert server.process.wait(35) == 0
    assert json.loads((server.folder / "stdout").read_text().splitlines()[0])["status"] == 200
