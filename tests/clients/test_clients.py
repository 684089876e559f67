"""Refusals that come early, as clients in several languages meet them: the next request has to be answered.

Node, Java and curl are taken where they are; the Python libraries from the environment that
`make test-clients` makes. What is absent is skipped.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from container.serving.openapi import describe
from fm_core.artifact.model_file import save_model
from tests.container.serving.conftest import make_model
from tests.contract.serving import serving

HERE = Path(__file__).parent
JSON = "application/json"
GOOD = {
    "method": "POST", "path": "/invocations", "type": JSON, "accept": None, "chunked": False,
    "text": '{"instances":[{"keys":[1],"values":[1]}]}', "size": 41,
}  # fmt: skip
LIMIT = 6 * 2**20

#: What is wrong with a request, and the status that it gets.
WRONG = {
    "no such address": (404, {"path": "/nothing"}),
    "no such method": (405, {"path": "/ping"}),
    "a type that is not read": (415, {"type": "application/octet-stream"}),
    "a type that is not written": (406, {"accept": "image/png"}),
    "no JSON": (400, {"text": "{"}),
}


def python_with(library):
    """An interpreter that has a library, or None."""
    own = os.environ.get("FM_CLIENTS_PYTHON")
    if own:
        return own
    return sys.executable if importlib.util.find_spec(library) else None


def commands():
    for library in ("http.client", "requests", "httpx", "aiohttp"):
        python = python_with(library)
        yield library, [python, HERE / "client.py", library] if python else None
    node, java = shutil.which("node"), shutil.which("java")
    for library in ("http", "fetch"):
        yield f"node {library}", [node, HERE / "client.mjs", library] if node else None
    for version in ("HTTP_1_1", "HTTP_2"):
        yield f"java {version}", [java, HERE / "Client.java", version] if java and shutil.which("javac") else None


COMMANDS = dict(commands())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    (root / "model").mkdir()
    save_model(root / "model/model_algo-1", make_model(), {})
    with serving(root, root) as server:
        yield server


def requests():
    """Each wrong request, of several sizes, and a good one after it; each with the status it should get."""
    for size in (1_000, 70_000, LIMIT):
        for chunked in (False, True):
            for status, change in WRONG.values():
                yield status, GOOD | {"size": size, "chunked": chunked} | change
                yield 200, GOOD
    for chunked in (False, True):
        yield 413, GOOD | {"size": LIMIT + 1_000_000, "chunked": chunked}
        yield 200, GOOD


def as_text(name, request):
    if not name.startswith("java"):
        return json.dumps(request)
    fields = (request[key] for key in ("method", "path", "type", "accept", "size", "text"))
    return "\t".join(["" if field is None else str(field) for field in fields] + [json.dumps(request["chunked"])])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_next_request_is_answered_after_a_refusal(server, name):
    command = COMMANDS[name]
    if command is None:
        pytest.skip(f"{name} is not installed here")
    wanted = list(requests())
    lines = "".join(as_text(name, request) + "\n" for _, request in wanted)
    command = [*command, str(server.port)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=100, check=False)
    found = [int(line) for line in done.stdout.split()]
    assert found == [status for status, _ in wanted], done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", [1_000, 70_000, LIMIT, LIMIT + 1_000_000])
def test_curl_gets_its_answer_with_and_without_expect(server, size, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed here")
    (tmp_path / "body").write_bytes(b" " * size)
    url = f"http://127.0.0.1:{server.port}/invocations"
    for expect in ("Expect:", "Expect: 100-continue"):
        one = ["-s", "-o", "/dev/null", "-w", "%{http_code}\n", "-H", expect]
        bad = [*one, "--data-binary", f"@{tmp_path}/body", "-H", "Content-Type: application/octet-stream", url]
        good = [*one, "--data-binary", GOOD["text"], "-H", f"Content-Type: {JSON}", url]
        done = subprocess.run(
            ["curl", *bad, "--next", *good, "--next", *bad], capture_output=True, text=True, timeout=60, check=True
        )
        refused = "413" if size > LIMIT else "415"
        assert done.stdout.split() == [refused, "200", refused]


def test_the_description_of_the_endpoint_is_openapi(tmp_path):
    python = python_with("openapi_spec_validator")
    if python is None:
        pytest.skip("openapi-spec-validator is not installed: make test-clients")
    code = "import json, sys, openapi_spec_validator as v; v.validate(json.load(sys.stdin)); print('valid')"
    for has_many_models in (False, True):
        text = json.dumps(describe(has_many_models))
        done = subprocess.run([python, "-c", code], input=text, capture_output=True, text=True, check=False)
        assert done.stdout == "valid\n", done.stderr
