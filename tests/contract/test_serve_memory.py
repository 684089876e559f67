"""What a request takes: memory in proportion, disk beyond, and a 507 where there is none."""

import gzip
import http.client
import re
import resource
import zlib
from pathlib import Path

import numpy as np
import pytest

from fm_core.artifact.model_file import save_model
from tests.container.serving.conftest import make_model
from tests.container.serving.records import framed
from tests.contract.serving import detail, serving

RECORDIO, LINES = "application/x-recordio-protobuf", "application/jsonlines"
LINE = b'{"keys":[1],"values":[1]}\n'
MB = 2**20


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    (root / "model").mkdir()
    save_model(root / "model/model_algo-1", make_model(), {})
    return root


def high_water(server):
    """The most memory that each worker has had, in bytes, all together."""
    total = 0
    for worker in server.workers:
        lines = Path(f"/proc/{worker}/status").read_text().splitlines()
        total += int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    return total


def own_kilobytes(worker):
    """What a process has for itself, without files: pages of these are dirty until the system has written them."""
    own = 0
    for line in Path(f"/proc/{worker}/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            is_memory = line.split()[4] == "0"  # the inode
        elif line.startswith("Private_Dirty") and is_memory:
            own += int(line.split()[1])
    return own


BODIES = {
    "libsvm, pairs": ("text/libsvm", b"0:1 1:2 3:4\n"),
    "libsvm, labels": ("text/libsvm", b"1\n"),
    "csv": ("text/csv", b"1,2,3,4,5\n"),
    "lines": (LINES, LINE),
    "lines with more in them": (LINES, b'{"keys":[],"values":[],"x":[[],[],[],[],[],[],[],[],[],[]]}\n'),
    "records": (RECORDIO, framed([1.0], [1], 5)),
    "json": ("application/json", b'{"keys":[1],"values":[1]},'),
    "json, wrong": ("application/json", b"[],"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_memory_is_within_fifteen_times_the_body(root, tmp_path, kind):
    content_type, one = BODIES[kind]
    body = one * (5_500_000 // len(one))
    if content_type == "application/json":
        body = b'{"instances":[' + body[:-1] + b"]}"
    with serving(root, tmp_path, SAGEMAKER_MODEL_SERVER_WORKERS=1) as server:
        server.invoke(one * 3_000, content_type)
        before = high_water(server)
        status, _, answer = server.invoke(body, content_type)
        assert status == (400 if kind == "json, wrong" else 200), answer[:200]
        assert high_water(server) - before < 15 * len(body)


@pytest.mark.parametrize("limit", [350, 450, 600])
def test_in_a_small_address_space_the_answer_is_a_507_and_no_crash(root, tmp_path, limit):
    variables = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": 1, "OMP_NUM_THREADS": 1}
    # One instance of 20 million numbers is 20 million objects at once; there is no smaller part.
    large = b'{"instances":[{"features":[' + b"1," * 20_000_000 + b"1]}]}"
    with serving(root, tmp_path, limits={resource.RLIMIT_AS: limit * MB}, **variables) as server:
        front = min(server.workers)
        answer = server.invoke(large)
        assert answer[0] == 507, answer
        assert "fewer rows" in detail(answer)
        assert server.invoke(LINE * 400_000, LINES, "text/csv")[0] == 200
        assert front in server.workers
        assert server.ask("GET", "/ping")[0] == 200


def test_a_body_beyond_memory_waits_on_the_disk(root, tmp_path):
    record = framed([1.0, 2.0, 3.0, 4.0, 5.0], uid="u" * 4000)
    n = 150 * MB // len(record)
    variables = {"MAX_CONTENT_LENGTH": 2**30, "SAGEMAKER_MODEL_SERVER_WORKERS": 1, "TMPDIR": str(tmp_path)}
    with serving(root, tmp_path, **variables) as server:
        before = high_water(server)
        with server.connect() as connection:
            chunk = record * 1000
            pieces = (chunk for _ in range(n // 1000))
            headers = {"Content-Type": RECORDIO, "Accept": "text/csv"}
            connection.request("POST", "/invocations", pieces, headers, encode_chunked=True)
            answer = connection.getresponse()
            scores = np.array(answer.read().split(), np.float32)
        assert answer.status == 200
        assert len(scores) == n // 1000 * 1000
        assert len(set(scores.tolist())) == 1
        assert sum(map(own_kilobytes, server.workers)) < 80_000, "kB that the workers have for themselves"
        assert high_water(server) - before < 420 * MB, "of which most is the file, mapped"
        assert not [path for path in tmp_path.iterdir() if path.name not in ("stdout", "stderr")]


# --- packed bodies ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(root, tmp_path_factory):
    with serving(root, tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.mark.parametrize("n", [1, 50_000])
@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "identity"])
def test_a_packed_body_is_unpacked(server, n, coding):
    body = LINE * n if coding == "identity" else gzip.compress(LINE * n)
    if n == 50_000 and coding == "gzip":
        body = gzip.compress(LINE * 20_000) + gzip.compress(LINE * 30_000)
    status, _, answer = server.invoke(body, LINES, "text/csv", Content_Encoding=coding)
    assert (status, len(answer.split())) == (200, n)


@pytest.mark.parametrize(
    ("body", "coding", "status", "said"),
    [
        (LINE, "br", 415, "Content-Encoding is 'br', which is not supported"),
        (LINE, "gzip", 400, "Content-Encoding is gzip, but the body is not"),
        (gzip.compress(LINE)[:-5], "gzip", 400, "truncated gzip data"),
        (gzip.compress(LINE) + b"more", "gzip", 400, "Content-Encoding is gzip, but the body is not"),
        (gzip.compress(b""), "gzip", 400, "the body is empty"),
        (zlib.compress(LINE), "gzip", 400, "Content-Encoding is gzip, but the body is not"),
        (gzip.compress(b" " * 300 * MB), "gzip", 413, "more than the limit of 6291456"),
        (gzip.compress(gzip.compress(b" " * 300 * MB)), "gzip", 400, "not valid JSON"),
    ],
)
def test_what_cannot_be_unpacked_within_the_limit_is_refused(server, body, coding, status, said):
    answer = server.invoke(body, LINES, Content_Encoding=coding)
    assert answer[0] == status
    assert said in detail(answer)


def test_a_packed_body_that_is_large_when_it_comes_is_unpacked_too(server):
    random = np.random.default_rng(0).random(50_000)
    lines = b"".join(b'{"keys":[1],"values":[%r]}\n' % value for value in random.tolist())
    packed = gzip.compress(lines, 1)
    assert len(packed) > 70_000
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/invocations", packed, {"Content-Type": LINES, "Content-Encoding": "gzip"})
    assert connection.getresponse().status == 200
    connection.close()
