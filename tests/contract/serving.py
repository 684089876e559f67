"""Real `serve` processes on free ports, and what is needed to ask them."""

import contextlib
import dataclasses
import functools
import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT

START_SECONDS = 30


def detail(answer):
    """The sentence of a refusal, looked at from all sides."""
    status, headers, body = answer
    assert headers["Content-Type"] == "application/json"
    document = json.loads(body)
    assert document.keys() == {"status", "title", "detail"}
    assert document["status"] == status
    return document["detail"]


@dataclasses.dataclass
class Server:
    process: subprocess.Popen
    port: int
    folder: Path

    def connect(self, port=None):
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=60))

    def ask(self, method, path, body=None, port=None, **headers):
        """Send one request on a connection of its own: (status, headers, body)."""
        with self.connect(port) as connection:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def invoke(self, body, content_type="application/json", accept=None, path="/invocations", **headers):
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        if accept:
            headers["Accept"] = accept
        return self.ask("POST", path, body, Content_Type=content_type, **headers)

    @property
    def workers(self):
        """Process ids of the workers: of each two, one that holds connections and one that computes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def oldest_of_each_kind(self):
        """The oldest worker of those that hold connections, and the oldest of those that compute."""
        holding = {worker for worker in self.workers if listens(worker, self.port)}
        return [min(holding), min(set(self.workers) - holding)]

    @contextlib.contextmanager
    def computing(self):
        """Gives a function that waits until a worker computes, and gives its process id."""
        before = {worker: ticks(worker) for worker in self.workers}

        def busy():
            return [worker for worker in self.workers if ticks(worker) - before.get(worker, 0) > 10]

        def wait():
            self.wait_for(busy)
            return busy()[0]

        yield wait

    @property
    def requests(self):
        """The request log: one object a line."""
        return [json.loads(line) for line in (self.folder / "stdout").read_text().splitlines()]

    @property
    def stderr(self):
        return (self.folder / "stderr").read_text()

    def wait_for(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"timed out after {seconds} s\n{self.stderr}"
            time.sleep(0.01)


def ticks(process_id):
    """Hundredths of a second of processor time that a process has taken; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def listens(process_id, port):
    """Whether a process listens at a port."""
    lines = [line.split() for line in Path(f"/proc/{process_id}/net/tcp").read_text().splitlines()[1:]]
    wanted = {f"socket:[{fields[9]}]" for fields in lines if fields[3] == "0A" and fields[1].endswith(f":{port:04X}")}
    for descriptor in Path(f"/proc/{process_id}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(descriptor) in wanted:  # noqa: PTH115 - it is no path
                return True
    return False


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def environment(root, **variables):
    """What a server's environment is here: no setting of whoever runs the tests gets in."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("SAGEMAKER_", "FM_", "MAX_"))}
    return kept | {"FM_OPT_ML": str(root)} | {name: str(text) for name, text in variables.items()}


COMMAND = [sys.executable, "-m", "container.serve"]


@contextlib.contextmanager
def serving(root, folder, limits=None, **variables):
    """A server of the tree at `root`, all workers up, answering /ping; its output goes to `folder`."""
    variables = {"SAGEMAKER_BIND_TO_PORT": free_port(), "SAGEMAKER_MODEL_SERVER_WORKERS": 2} | variables
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            COMMAND,
            cwd=ROOT,
            env=environment(root, **variables),
            stdout=stdout,
            stderr=stderr,
            preexec_fn=functools.partial(_limit, limits or {}),
        )
    wanted = int(variables["SAGEMAKER_MODEL_SERVER_WORKERS"] or 1)
    server = Server(process, int(variables["SAGEMAKER_BIND_TO_PORT"]), folder)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (_answers(server) and len(server.workers) >= 2 * wanted):
            assert process.poll() is None, server.stderr
            assert time.monotonic() < deadline, server.stderr
            time.sleep(0.02)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=35)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _limit(limits):
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))


def _answers(server):
    try:
        return server.ask("GET", "/ping")[0] == 200
    except OSError:
        return False


def refused_start(root, **variables):
    """Start a server that must not come up: (exit status, stderr)."""
    done = subprocess.run(
        COMMAND, cwd=ROOT, env=environment(root, **variables), capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr
