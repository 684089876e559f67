"""What serving costs, as ratios taken in one run: `python benchmarks/serving.py [--quick]`.

- requests/s of one sparse instance as JSON, against an empty Flask view under the same gunicorn (needs `wrk`);
- p99 at 70 % of our peak rate, against the empty view's at the same rate (an open-loop generator of its own);
- a 6 MB body of RecordIO, against protobuf's parser plus SciPy;
- a 6 MB body of JSON, against orjson.loads alone;
- ranking of 100,000 candidates, CPU time.

Loopback only. Rounds are interleaved; medians are printed, with the machine.
"""

import argparse
import contextlib
import http.client
import io
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import orjson
import scipy.sparse
from flask import Flask

from container.resources import usable_cores
from container.serve import Server
from container.serving.app import create_app
from container.settings import ServingSettings
from fm_core.artifact import save_model
from fm_core.formats import decode_rows, write_records
from fm_core.formats.instances import decode_instances
from fm_core.formats.schema import Record
from fm_core.model import Model
from fm_core.ranking import rank

FEATURE_DIM = 1_000_000
NUM_FACTORS = 16
NNZ = 39
BODY = 6 * 2**20


def main() -> None:
    """Run every part."""
    if sys.argv[1:2] == ["--empty"]:
        serve_empty_view()
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: to see that it runs")
    quick = parser.parse_args().quick
    show_machine()
    random = np.random.default_rng(0)
    model = Model(
        "binary_classifier",
        0.1,
        random.standard_normal(FEATURE_DIM, np.float32) / 100,
        random.standard_normal((FEATURE_DIM, NUM_FACTORS), np.float32) / 100,
    )
    compare_bodies(model, random, rounds=3 if quick else 15)
    time_ranking(random, rounds=3 if quick else 15)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model").mkdir()
        save_model(Path(folder) / "model/model_algo-1", model, {})
        compare_requests(Path(folder), random, rounds=1 if quick else 5, seconds=2 if quick else 10)


def show_machine() -> None:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.*)", info)
    print(f"{name[1] if name else platform.processor()}, {usable_cores()} cores usable, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, orjson {orjson.__version__}")


def rows_of(random: np.random.Generator, n: int) -> scipy.sparse.csr_matrix:
    keys = np.sort(random.integers(0, FEATURE_DIM, (n, NNZ)), axis=1)
    keys += np.arange(NNZ)  # no key twice
    np.minimum(keys, FEATURE_DIM - NNZ + np.arange(NNZ), out=keys)
    values = random.random((n, NNZ)).astype(np.float32).round(4)
    return scipy.sparse.csr_matrix((values.ravel(), keys.ravel(), np.arange(0, n * NNZ + 1, NNZ)), (n, FEATURE_DIM))


def as_json(rows: scipy.sparse.csr_matrix) -> bytes:
    def instance(i: int) -> dict:
        entries = slice(rows.indptr[i], rows.indptr[i + 1])
        values = [round(value, 4) for value in rows.data[entries].tolist()]
        return {
            "data": {"features": {"keys": rows.indices[entries].tolist(), "shape": [FEATURE_DIM], "values": values}}
        }

    return orjson.dumps({"instances": [instance(i) for i in range(rows.shape[0])]})


def as_recordio(rows: scipy.sparse.csr_matrix) -> bytes:
    file = io.BytesIO()
    write_records(file, rows)
    return file.getvalue()


def interleaved(rounds: int, **runs) -> dict[str, float]:
    """Median milliseconds of each."""
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) * 1000 for name, each in seconds.items()}


# --- large bodies, in this process -----------------------------------------------------------


def compare_bodies(model: Model, random: np.random.Generator, rounds: int) -> None:
    client = create_app(model, ServingSettings()).test_client()

    def post(body: bytes, content_type: str) -> None:
        answer = client.post("/invocations", data=body, content_type=content_type)
        assert answer.status_code == 200, answer.text

    size = len(as_json(rows_of(random, 100))) / 100
    rows = rows_of(random, int(BODY / size * 0.99))
    json_body = as_json(rows)
    took = interleaved(rounds, parse=lambda: orjson.loads(json_body), whole=lambda: post(json_body, "application/json"))
    print(
        f"JSON, {len(json_body) / 2**20:.1f} MB, {rows.shape[0]} rows of {NNZ}, k={NUM_FACTORS}: request "
        f"{took['whole']:.0f} ms, orjson.loads alone {took['parse']:.0f} ms: ratio {took['whole'] / took['parse']:.2f}"
    )

    rows = rows_of(random, 2 * rows.shape[0])
    record = as_recordio(rows[:1])
    rows = rows[: min(rows.shape[0], BODY // len(record))]
    body = as_recordio(rows)
    took = interleaved(
        max(3, rounds // 3),
        decode=lambda: decode_rows(body, feature_dim=FEATURE_DIM),
        whole=lambda: post(body, "application/x-recordio-protobuf"),
        peer_decode=lambda: protobuf_parse(body),
        peer_whole=lambda: protobuf_and_scipy(body, model),
    )
    print(
        f"RecordIO, {len(body) / 2**20:.1f} MB, {rows.shape[0]} rows: to CSR {took['decode']:.1f} ms, with protobuf's "
        f"parser and SciPy {took['peer_decode']:.0f} ms: ratio {took['peer_decode'] / took['decode']:.0f};\n  "
        f"whole request {took['whole']:.0f} ms, with those {took['peer_whole']:.0f} ms: "
        f"ratio {took['peer_whole'] / took['whole']:.1f}"
    )


def protobuf_parse(body: bytes) -> scipy.sparse.csr_matrix:
    keys, values, indptr, at = [], [], [0], 0
    while at < len(body):
        size = int.from_bytes(body[at + 4 : at + 8], "little")
        tensor = Record.FromString(body[at + 8 : at + 8 + size]).features["values"].float32_tensor
        keys.extend(tensor.keys)
        values.extend(tensor.values)
        indptr.append(len(keys))
        at += 8 + size + -size % 4
    return scipy.sparse.csr_matrix((np.array(values, np.float32), keys, indptr), (len(indptr) - 1, FEATURE_DIM))


def protobuf_and_scipy(body: bytes, model: Model) -> bytes:
    X = protobuf_parse(body)
    sums = X @ model.V
    z = model.w0 + X @ model.w + 0.5 * ((sums**2).sum(axis=1) - X.power(2) @ (model.V**2).sum(axis=1))
    scores = 1 / (1 + np.exp(-z))
    return orjson.dumps({"predictions": [{"score": s, "predicted_label": float(s >= 0.5)} for s in scores.tolist()]})


def time_ranking(random: np.random.Generator, rounds: int) -> None:
    n, feature_dim, k = 100_000, 200_000, 64
    model = Model(
        "regressor", 0.0, random.standard_normal(feature_dim, np.float32), random.random((feature_dim, k), np.float32)
    )
    context = decode_instances([{"keys": [5], "values": [1.0]}], feature_dim=feature_dim)
    items = [{"keys": [key], "values": [1.0]} for key in random.permutation(feature_dim)[:n].tolist()]
    candidates = decode_instances(items, feature_dim=feature_dim)
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        rank(model, context, candidates, 10)
        seconds.append(time.process_time() - start)
    print(f"ranking, {n} candidates, k={k}: {statistics.median(seconds) * 1000:.0f} ms of CPU")


# --- requests, over sockets ------------------------------------------------------------------


def serve_empty_view() -> None:
    """Be the yardstick: Flask and gunicorn as we use them, and a view that does nothing."""
    app = Flask(__name__)

    @app.get("/ping")
    def ping() -> str:
        return ""

    @app.post("/invocations")
    def invocations() -> str:
        return ""

    settings = ServingSettings.from_environment(os.environ, cores=usable_cores(), memory=2**30)
    Server(app, settings).run()


@contextlib.contextmanager
def served(command: list[str], root: Path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environ = os.environ | {"FM_OPT_ML": str(root), "SAGEMAKER_BIND_TO_PORT": str(port), "PYTHONPATH": str(Path.cwd())}
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *command], env=environ, stdout=log, stderr=log)
    try:
        for _ in range(500):
            with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as c:
                c.request("GET", "/ping")
                if c.getresponse().status == 200:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def compare_requests(root: Path, random: np.random.Generator, rounds: int, seconds: int) -> None:
    body = as_json(rows_of(random, 1))
    with served(["-m", "container.serve"], root) as ours, served([__file__, "--empty"], root) as empty:
        if shutil.which("wrk"):
            rates = {ours: [], empty: []}
            for _ in range(rounds):
                for port in (empty, ours):
                    rates[port].append(peak_rate(port, body, root, seconds))
            peak, peak_empty = statistics.median(rates[ours]), statistics.median(rates[empty])
            print(
                f"one JSON instance of {NNZ} (wrk, 8 connections): {peak:.0f} requests/s, empty view {peak_empty:.0f}: "
                f"ratio {peak / peak_empty:.2f}"
            )
        else:
            peak = 200.0
            print("wrk is absent (Debian package wrk): peak rates are left out, and 200 requests/s taken for the next")
        rate = 0.7 * peak
        slow = {ours: [], empty: []}
        for _ in range(rounds):
            for port in (empty, ours):
                slow[port].append(p99(port, body, rate, seconds))
        mine, theirs = statistics.median(slow[ours]), statistics.median(slow[empty])
        print(f"p99 at {rate:.0f} requests/s: {mine:.1f} ms, empty view {theirs:.1f} ms: ratio {mine / theirs:.2f}")


def peak_rate(port: int, body: bytes, folder: Path, seconds: int) -> float:
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = '{body.decode()}'\n"
    )
    command = ["wrk", "-t1", "-c8", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}/invocations"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in text, text
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])


def p99(port: int, body: bytes, rate: float, seconds: int, connections: int = 8) -> float:
    """99th percentile in ms, from the time a request was due: a late one counts its wait (open loop)."""
    waits, lock, headers = [], threading.Lock(), {"Content-Type": "application/json"}
    start, count, taken = time.perf_counter() + 0.1, int(rate * seconds), iter(range(int(rate * seconds)))

    def work() -> None:
        mine = []
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
            client.connect()
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                with lock:
                    number = next(taken, count)
                if number == count:
                    break
                due = start + number / rate
                time.sleep(max(0, due - time.perf_counter()))
                client.request("POST", "/invocations", body, headers)
                answer = client.getresponse()
                answer.read()
                assert answer.status == 200
                mine.append(time.perf_counter() - due)
        with lock:
            waits.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return float(np.percentile(waits, 99) * 1000)


if __name__ == "__main__":
    main()
