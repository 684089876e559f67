"""What serving costs, as ratios measured in one run: `python benchmarks/serving.py [--quick]`.

- requests/s of one sparse instance as JSON, compared with an empty Flask view under the same gunicorn (needs `wrk`);
- p99 latency at 70 % of this server's peak rate, compared with the empty view's at the same rate (an open-loop
  generator of its own);
- the time from the start of `serve` to the first answer to /ping, with a model of 1 GB;
- a 6 MB body of RecordIO, compared with protobuf's parser plus SciPy;
- 6 MB bodies of JSON, CSV and libsvm, from the request to the answer, compared with only parsing them with orjson,
  pyarrow.csv and scikit-learn's load_svmlight_file;
- ranking of 100,000 candidates, CPU time.

All run on the loopback interface, round after round in turn. Bodies and ranking are measured in processor seconds of
one process.
"""

import argparse
import contextlib
import functools
import http.client
import io
import itertools
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.csv
import scipy.sparse
from common import describe, in_turn, ratios, table, times
from flask import Flask
from sklearn.datasets import load_svmlight_file

from container.serving.app import create_app
from container.serving.server import Server
from container.serving.settings import ServingSettings
from fm_core.analysis.ranking import rank
from fm_core.artifact.model_file import save_model
from fm_core.formats import decode_rows, write_records
from fm_core.formats.recordio.messages import Record
from fm_core.formats.requests.instances import decode_instances
from fm_core.model import Model
from fm_core.resources import usable_cores

FEATURE_DIM = 1_000_000
NUM_FACTORS = 16
NNZ = 39
CSV_WIDTH = 100
BODY = 6 * 2**20
HEADER = ["", "ours", "yardstick", "ratio", "goal"]


def main() -> None:
    """Run every part."""
    if sys.argv[1:2] == ["--empty"]:
        serve_empty_view()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="take seconds instead of minutes, to test that it runs")
    parser.add_argument("--p99-seconds", type=int, default=60, help="seconds for each server at 70 %% of the peak rate")
    options = parser.parse_args()
    quick = options.quick
    describe("Serving")
    random = np.random.default_rng(0)
    model = Model(
        "binary_classifier",
        0.1,
        random.standard_normal(FEATURE_DIM, np.float32) / 100,
        random.standard_normal((FEATURE_DIM, NUM_FACTORS), np.float32) / 100,
    )
    print(f"## Large bodies, processor ms; rows of {NNZ} non-zeros, k {NUM_FACTORS}\n")
    table(HEADER, compare_bodies(model, random, rounds=3 if quick else 9))
    print("## Ranking 100,000 candidates, k 64\n")
    table(["", "processor ms, median", "goal"], [time_ranking(random, rounds=3 if quick else 15)])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").mkdir()
        print("## From the start of `serve` to the first answer to /ping\n")
        table(["", "seconds, median", "least", "goal"], [time_start(folder, 2**20 if quick else 2**30, rounds=3)])
        save_model(folder / "model/model_algo-1", model, {})
        print(f"## Requests of one JSON instance of {NNZ} non-zeros; the yardstick is an empty Flask view\n")
        rounds, seconds = (1, 2) if quick else (5, 5)
        table(HEADER, compare_requests(folder, random, rounds, seconds, 2 if quick else options.p99_seconds))


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


def as_libsvm(rows: scipy.sparse.csr_matrix) -> bytes:
    pairs = [f"{key}:{value:.4g}" for key, value in zip(rows.indices.tolist(), rows.data.tolist(), strict=True)]
    bounds = rows.indptr.tolist()
    return "\n".join("1 " + " ".join(pairs[a:b]) for a, b in itertools.pairwise(bounds)).encode()


def arrow_parse(body: bytes) -> np.ndarray:
    options = pyarrow.csv.ReadOptions(autogenerate_column_names=True, use_threads=False)
    parsed = pyarrow.csv.read_csv(io.BytesIO(body), read_options=options)
    return np.column_stack([column.to_numpy() for column in parsed.columns]).astype(np.float32)


def as_recordio(rows: scipy.sparse.csr_matrix) -> bytes:
    file = io.BytesIO()
    write_records(file, rows)
    return file.getvalue()


def processor(run: Callable[[], object]) -> Callable[[], float]:
    """Make what runs it and gives the milliseconds of processor time."""

    def timed() -> float:
        started = time.process_time()
        run()
        return (time.process_time() - started) * 1000

    return timed


# --- large bodies, in this process -----------------------------------------------------------


def compare_bodies(model: Model, random: np.random.Generator, rounds: int) -> list[list[str]]:
    client = create_app(model, ServingSettings(predict_threads=1)).test_client()

    def post(body: bytes, content_type: str, client: Any = client) -> None:
        answer = client.post("/invocations", data=body, content_type=content_type)
        assert answer.status_code == 200, answer.text

    size = len(as_json(rows_of(random, 100))) / 100
    rows = rows_of(random, int(BODY / size * 0.99))
    json_body = as_json(rows)
    many = rows_of(random, 2 * rows.shape[0])
    record = as_recordio(many[:1])
    many = many[: min(many.shape[0], BODY // len(record))]
    body = as_recordio(many)
    libsvm = as_libsvm(rows_of(random, int(BODY / len(as_libsvm(rows[:100])) * 100)))
    narrow = random.random((BODY // (8 * CSV_WIDTH), CSV_WIDTH)).astype(np.float32).round(4)
    csv = "\n".join(",".join(f"{value:.6g}" for value in row) for row in narrow.tolist()).encode()
    narrow_client = create_app(
        Model("binary_classifier", 0.1, model.w[:CSV_WIDTH].copy(), model.V[:CSV_WIDTH].copy()),
        ServingSettings(predict_threads=1),
    ).test_client()
    found = in_turn(
        {
            "CSV": processor(lambda: post(csv, "text/csv", narrow_client)),
            "CSV, peer": processor(lambda: arrow_parse(csv)),
            "libsvm": processor(lambda: post(libsvm, "text/libsvm")),
            "libsvm, peer": processor(
                lambda: load_svmlight_file(
                    io.BytesIO(libsvm), n_features=FEATURE_DIM, zero_based=True, dtype=np.float32
                )
            ),
            "JSON": processor(lambda: post(json_body, "application/json")),
            "loads": processor(lambda: orjson.loads(json_body)),
            "decode": processor(lambda: decode_rows(body, feature_dim=FEATURE_DIM)),
            "decode, peer": processor(lambda: protobuf_parse(body)),
            "whole": processor(lambda: post(body, "application/x-recordio-protobuf")),
            "whole, peer": processor(lambda: protobuf_and_scipy(body, model)),
        },
        rounds,
    )

    def row(what: str, ours: str, peer: str, yardstick: str, goal: str, inverse: bool = False) -> list[str]:
        ratio = ratios(found[ours], found[peer]) if inverse else ratios(found[peer], found[ours])
        medians = [statistics.median(found[name]) for name in (ours, peer)]
        return [what, f"{medians[0]:.1f}", f"{yardstick} {medians[1]:.1f}", times(ratio), goal]

    return [
        row(f"JSON, {len(json_body) / 2**20:.1f} MB, {rows.shape[0]:,} rows: request to answer", "JSON", "loads",
            "orjson.loads alone", "<= 1.2 x", inverse=True),
        row(f"CSV, {len(csv) / 2**20:.1f} MB, {len(narrow):,} rows of {CSV_WIDTH}: request to answer", "CSV",
            "CSV, peer", "pyarrow.csv alone", ">= 1 x"),
        row(f"libsvm, {len(libsvm) / 2**20:.1f} MB, {libsvm.count(b':') // NNZ:,} rows: request to answer", "libsvm",
            "libsvm, peer", "load_svmlight_file alone", ">= 10 x"),
        row(f"RecordIO, {len(body) / 2**20:.1f} MB, {many.shape[0]:,} rows: body to CSR", "decode", "decode, peer",
            "protobuf's parser, SciPy", ">= 40 x"),
        row("the same: request to answer", "whole", "whole, peer", "those, and SciPy's product", ""),
    ]  # fmt: skip


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


def time_ranking(random: np.random.Generator, rounds: int) -> list[str]:
    n, feature_dim, k = 100_000, 200_000, 64
    model = Model(
        "regressor", 0.0, random.standard_normal(feature_dim, np.float32), random.random((feature_dim, k), np.float32)
    )
    context = decode_instances([{"keys": [5], "values": [1.0]}], feature_dim=feature_dim)
    items = [{"keys": [key], "values": [1.0]} for key in random.permutation(feature_dim)[:n].tolist()]
    candidates = decode_instances(items, feature_dim=feature_dim)
    rank_them = processor(lambda: rank(model, context, candidates, 10))
    return ["context and candidates of one non-zero", f"{statistics.median(rank_them() for _ in range(rounds)):.0f}",
            "< 50"]  # fmt: skip


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
        for _ in range(12_000):
            with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as c:
                c.request("GET", "/ping")
                if c.getresponse().status == 200:
                    break
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def time_start(folder: Path, size: int, rounds: int) -> list[str]:
    """Start a server of a model of so many bytes, just written and so in the page cache."""
    d = size // 4 // 65
    V = np.zeros((d, 64), np.float32)
    V[:] = np.linspace(-1, 1, 64, dtype=np.float32)
    save_model(folder / "model/model_algo-1", Model("regressor", 0.0, V[:, 0], V), {})
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        with served(["-m", "container.serve"], folder):
            seconds.append(time.perf_counter() - started)
    what = f"a model of {size / 2**30:.3g} GiB, in the page cache"
    return [what, f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f}", "< 2"]


def compare_requests(
    root: Path, random: np.random.Generator, rounds: int, seconds: int, p99_seconds: int
) -> list[list[str]]:
    body = as_json(rows_of(random, 1))
    rows = []
    with served(["-m", "container.serve"], root) as ours, served([__file__, "--empty"], root) as empty:
        if shutil.which("wrk"):
            found = in_turn(
                {port: functools.partial(peak_rate, port, body, root, seconds) for port in (empty, ours)}, rounds
            )
            for what, i in (("requests/s (wrk, 8 connections)", 0), ("the same, a second of processor time", 1)):
                rates = {port: [each[i] for each in found[port]] for port in (empty, ours)}
                medians = [f"{statistics.median(rates[port]):.0f}" for port in (ours, empty)]
                rows.append([what, *medians, times(ratios(rates[ours], rates[empty])), ">= 1 x"])
            peak = statistics.median(each[0] for each in found[ours])
        else:
            peak = 300.0
            print("wrk is absent (Debian package wrk): no peak rates, and 300 requests/s are taken for the next\n")
        rate = 0.7 * peak
        parts = max(1, p99_seconds // 20)
        waits = in_turn(
            {port: functools.partial(latencies, port, body, rate, p99_seconds // parts) for port in (empty, ours)},
            parts,
        )
        mine, theirs = ([float(np.percentile(each, 99)) for each in waits[port]] for port in (ours, empty))
        what = f"p99 in ms at {rate:.0f} requests/s for {parts * (p99_seconds // parts)} s"
        ms = [f"{statistics.median(each):.1f}" for each in (mine, theirs)]
        rows.append([what, *ms, times(ratios(mine, theirs)), "<= 1.5 x"])
    return rows


def peak_rate(port: int, body: bytes, folder: Path, seconds: int) -> tuple[float, float]:
    """Requests per second, and per second of the processor time that the server's processes take."""
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = '{body.decode()}'\n"
    )
    command = ["wrk", "-t1", "-c8", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}/invocations"]
    before = processor_seconds(port)
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    taken = processor_seconds(port) - before
    assert "Non-2xx" not in text, text
    count = int(re.search(r"(\d+) requests in", text)[1])
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), count / taken


def processor_seconds(port: int) -> float:
    """What the processes of the server at this port have taken so far."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if f"SAGEMAKER_BIND_TO_PORT={port}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                ticks += sum(map(int, (folder / "stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def latencies(port: int, body: bytes, rate: float, seconds: int, connections: int = 8) -> list[float]:
    """Milliseconds of each request from the time it was due: a late one counts its wait (open loop)."""
    head = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    message = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    waits: list[float] = []
    count = int(rate * seconds)
    numbers = iter(range(count))
    start = time.perf_counter() + 0.1

    def work() -> None:
        mine = []
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (number := next(numbers, count)) < count:  # one step of the interpreter: no lock is needed
                due = start + number / rate
                time.sleep(max(0, due - time.perf_counter()))
                client.sendall(message)
                read_answer(client)
                mine.append((time.perf_counter() - due) * 1000)
        waits.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waits) == count
    return waits


def read_answer(client: socket.socket) -> None:
    answer = client.recv(65536)
    while b"\r\n\r\n" not in answer:
        answer += client.recv(65536)
    headers, _, content = answer.partition(b"\r\n\r\n")
    assert headers.startswith(b"HTTP/1.1 200"), answer
    found = re.search(rb"content-length: (\d+)", headers, re.IGNORECASE)
    assert found, headers
    while len(content) < int(found[1]):
        content += client.recv(65536)


if __name__ == "__main__":
    main()
