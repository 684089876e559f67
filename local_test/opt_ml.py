"""SageMaker's side of the contract on this machine: the /opt/ml tree, `train` and `serve`.

A tree may be anywhere: FM_OPT_ML tells the processes where. Both programs are the console scripts that the image runs,
from the folder of the Python that runs this.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["ContractError", "lay_out", "pack_model", "serving", "train", "unpack_model"]

HOST = "algo-1"
STOP_SECONDS = 30  # SageMaker's time between SIGTERM and SIGKILL of an endpoint
ABANDON_SECONDS = 5  # ours, once something else has gone wrong


class ContractError(Exception):
    """A process did not do what SageMaker expects of it."""


def lay_out(root: Path, hyperparameters: Mapping[str, str], channels: Mapping[str, Path]) -> None:
    """Make the tree of one training job, File mode, in place of whatever `root` held.

    Parameters
    ----------
    root : Path
        Plays /opt/ml.
    hyperparameters : mapping of str to str
        As CreateTrainingJob takes them.
    channels : mapping of str to Path
        Name of each channel, and the file that is its data.
    """
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("input/config", "input/data", "model", "output/data"):
        (root / folder).mkdir(parents=True)
    channel = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    files: dict[str, Any] = {
        "hyperparameters.json": dict(hyperparameters),
        "inputdataconfig.json": dict.fromkeys(channels, channel),
        "resourceconfig.json": {"current_host": HOST, "hosts": [HOST], "network_interface_name": "lo"},
    }
    for name, content in files.items():
        (root / "input/config" / name).write_text(json.dumps(content, indent=2) + "\n")
    for name, file in channels.items():
        (root / "input/data" / name).mkdir()
        shutil.copy(file, root / "input/data" / name / file.name)


def train(root: Path) -> str:
    """Run `train` on a tree, its log shown as it comes.

    Returns
    -------
    log : str

    Raises
    ------
    ContractError
        It failed; with the reason that it left in output/failure.
    """
    lines = []
    with _started([_script("train")], root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print("  " + line, end="", flush=True)
            lines.append(line)
        code = process.wait()
    if code != 0:
        failure = root / "output/failure"
        reason = failure.read_text() if failure.exists() else "no reason was written to output/failure"
        raise ContractError(f"train ended with exit code {code}: {reason}")
    return "".join(lines)


def pack_model(root: Path) -> Path:
    """Pack the model folder of a finished job as SageMaker does, in output/model.tar.gz."""
    packed = root / "output/model.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        for file in sorted((root / "model").iterdir()):
            archive.add(file, arcname=file.name)
    return packed


def unpack_model(packed: Path, root: Path) -> None:
    """Make the tree of an endpoint: the model unpacked, and nothing else."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "model").mkdir(parents=True)
    with tarfile.open(packed) as archive:
        archive.extractall(root / "model", filter="data")


@contextlib.contextmanager
def serving(root: Path, start_seconds: float = 30) -> Iterator[str]:
    """Run `serve` on a tree while the block runs, and give the address it answers at.

    Raises
    ------
    ContractError
        It did not answer /ping in time, or did not stop when told to.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with _started([_script("serve")], root, environment={"SAGEMAKER_BIND_TO_PORT": str(port)}) as process:
        deadline = time.monotonic() + start_seconds
        while not _answers(address + "/ping"):
            if process.poll() is not None:
                raise ContractError(f"serve ended with exit code {process.returncode} before it answered /ping")
            if time.monotonic() > deadline:
                raise ContractError(f"serve did not answer /ping within {start_seconds} s")
            time.sleep(0.1)
        yield address
        process.terminate()
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise ContractError(f"serve was still there {STOP_SECONDS} s after SIGTERM") from None
        if code != 0:
            raise ContractError(f"serve ended with exit code {code} after SIGTERM, expected 0")


def _script(name: str) -> str:
    script = Path(sys.executable).with_name(name)
    if not script.exists():
        raise ContractError(f"there is no {script}: run `make develop` first")
    return str(script)


@contextlib.contextmanager
def _started(
    command: list[str], root: Path, environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Start a process in a group of its own, none of which outlives the block."""
    settings = {**os.environ, "FM_OPT_ML": str(root), "PYTHONUNBUFFERED": "1", **(environment or {})}
    process = subprocess.Popen(command, env=settings, start_new_session=True, **options)
    try:
        yield process
    finally:
        if process.poll() is None:  # given the time to tidy up, then none
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ABANDON_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
