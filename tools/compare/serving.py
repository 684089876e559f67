"""Requests: the servers of both sides get the same requests, one after the other."""

import contextlib
import http.client
import io
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tools.compare.inputs import FEATURE_DIM
from tools.compare.sides import Side, blanked

__all__ = ["ROW", "ask", "lay_out_models", "requests_of", "serving"]

#: Headers that are the server's and not the application's.
_OF_SERVER = {"connection", "content-length", "date", "server"}

Request = tuple[str, str, bytes | None, dict[str, str]]

ROW = {"data": {"features": {"keys": [1, 7, 30], "values": [1, 0.5, -2], "shape": [FEATURE_DIM]}}}
DENSE_ROW = {"features": [round(0.37 * i - 1, 2) for i in range(FEATURE_DIM)]}
ACCEPTS = {
    "": "", "any": "*/*", "json": "application/json", "jsonlines": "application/jsonlines", "csv": "text/csv",
    "recordio": "application/x-recordio-protobuf", "weighed": "text/csv;q=0.4, application/jsonlines;q=0.9",
    "image": "image/png", "none": "application/json;q=0",
}  # fmt: skip


def _post(body: Any, content_type: str = "application/json", accept: str = "", **headers: str) -> Request:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {name.replace("_", "-"): text for name, text in headers.items()} | {"Content-Type": content_type}
    return "POST", "/invocations", body, headers | ({"Accept": accept} if accept else {})


def requests_of(kind: str, inputs: Path) -> dict[str, Request]:
    """The requests by name, to a server of one kind: "ids", "columns" or "models"."""
    return {"ids": _of_ids, "columns": _of_columns, "models": _of_models}[kind](inputs)


def _of_ids(inputs: Path) -> dict[str, Request]:
    sparse = (inputs / "binary.test.rec").read_bytes()
    lines = (inputs / "binary.test.libsvm").read_bytes()
    csv = b"\n".join(",".join(f"{v:g}" for v in row).encode() for row in np.eye(3, FEATURE_DIM) * 1.5)
    several = {"instances": [ROW, DENSE_ROW, {"keys": [2, 2, 1], "values": [1, 2, 3]}]}
    asked: dict[str, Request] = {
        "ping": ("GET", "/ping", None, {}),
        "parameters": ("GET", "/execution-parameters", None, {}),
        "no such address": ("GET", "/nothing", None, {}),
        "wrong method": ("GET", "/invocations", None, {}),
    }
    bodies = {
        "json": (several, "application/json"),
        "no instances": ({"instances": []}, "application/json; charset=utf-8"),
        "jsonlines": (b"\n".join(json.dumps(row).encode() for row in several["instances"]), "application/jsonlines"),
        "recordio": (sparse, "application/x-recordio-protobuf"),
        "recordio, old name": (sparse, "x-recordio-protobuf"),
        "csv": (csv, "text/csv"),
        "libsvm": (lines, "text/libsvm"),
    }
    for name, (body, content_type) in bodies.items():
        for accepted, accept in ACCEPTS.items():
            asked[f"{name} -> {accepted or 'nothing said'}"] = _post(body, content_type, accept)
    ranking = {"context": ROW, "candidates": [{"keys": [k], "values": [1]} for k in (3, 9, 9, 40)], "top_k": 3}
    asked |= {
        "ranking": _post({"instances": [ranking, ranking | {"top_k": 1}]}),
        "ranking, jsonlines": _post(json.dumps(ranking).encode(), "application/jsonlines", "application/jsonlines"),
        "ranking as csv": _post({"instances": [ranking]}, accept="text/csv"),
        "ranking and a row": _post({"instances": [ranking, ROW]}),
        "explained": _post({"instances": [ROW | {"configuration": {"explain": True}}, ROW]}),
        "explained, 1": _post({"instances": [ROW | {"configuration": {"explain": 1}}]}),
        "explained, dense": _post({"instances": [DENSE_ROW | {"explain": 3}]}),
        "explained as csv": _post({"instances": [ROW | {"explain": True}]}, accept="text/csv"),
        "attributes": _post(several, X_Amzn_SageMaker_Custom_Attributes="trace=7"),
    }
    refused: dict[str, tuple[Any, str]] = {
        "empty": (b"", "application/json"), "no type": (several, ""), "a type": (b"x", "application/octet-stream"),
        "no json": (b"{", "application/json"), "a list": ([1], "application/json"), "nan": (b'{"instances": [NaN]}',
        "application/json"), "a key": ({"instances": [ROW, {"keys": [60], "values": [1]}]}, "application/json"),
        "a negative key": ({"instances": [{"keys": [-1], "values": [1]}]}, "application/json"),
        "lengths": ({"instances": [{"keys": [1, 2], "values": [1]}]}, "application/json"),
        "shape": ({"instances": [{"data": {"features": {"keys": [1], "values": [1], "shape": [61]}}}]},
                  "application/json"),
        "width": ({"instances": [{"features": [1, 2]}]}, "application/json"),
        "large": ({"instances": [{"keys": [1], "values": [1e39]}]}, "application/json"),
        "text": ({"instances": [{"keys": ["a"], "values": [1]}]}, "application/json"),
        "columns": ({"instances": [{"columns": {"a": 1}}]}, "application/json"),
        "a line": (b'{"keys": [1], "values": [1]}\n{"keys": [99], "values": [1]}', "application/jsonlines"),
        "cut recordio": (sparse[:-30], "application/x-recordio-protobuf"),
        "recordio is text": (b"hello", "application/x-recordio-protobuf"),
        "csv width": (csv + b"\n1,2", "text/csv"), "csv text": (csv.replace(b"1.5", b"x"), "text/csv"),
        "libsvm key": (b"1 3:1\n0 60:1", "text/libsvm"), "libsvm text": (b"1 a:b", "text/libsvm"),
        "overflow": ({"instances": [{"keys": [1, 2], "values": [3e38, 3e38]}]}, "application/json"),
    }  # fmt: skip
    asked |= {f"refused: {name}": _post(body, content_type) for name, (body, content_type) in refused.items()}
    return asked | {"refused: 7 MB": _post(b" " * 7_000_000)}


def _of_columns(inputs: Path) -> dict[str, Request]:
    row = {"user": "u3", "item": "i4", "tags": ["t1", "t2"], "age": 40, "price": 9.5}
    header, *lines = (inputs / "new.csv").read_bytes().splitlines()
    csv = b"\n".join([header, *lines[:5]])
    ranking = {"context": {"columns": {"user": "u1"}}, "candidates": [{"columns": {"item": f"i{i}"}} for i in range(5)]}
    return {
        "json": _post({"instances": [{"columns": row}, {"columns": row | {"tags": "t1|t3", "age": None, "x": 1}}]}),
        "jsonlines": _post(json.dumps({"columns": row}).encode(), "application/jsonlines"),
        "csv": _post(csv, "text/csv"),
        "csv, said": _post(csv, "text/csv; header=present"),
        "ranking": _post({"instances": [ranking]}),
        "explained": _post({"instances": [{"columns": row, "explain": True}]}),
        "ids": _post({"instances": [{"keys": [3], "values": [1]}]}),
        "refused: unseen": _post({"instances": [{"columns": row | {"user": "zed"}}]}),
        "refused: missing": _post({"instances": [{"columns": {"user": "u1"}}]}),
        "refused: number": _post({"instances": [{"columns": row | {"price": "9"}}]}),
        "refused: null": _post({"instances": [{"columns": row | {"user": [1]}}]}),
        "refused: mixed": _post({"instances": [{"columns": row}, {"keys": [3], "values": [1]}]}),
        "refused: csv": _post(csv + b"\nu9", "text/csv"),
    }


def _of_models(inputs: Path) -> dict[str, Request]:
    def load(name: str, url: str) -> Request:
        return "POST", "/models", json.dumps({"model_name": name, "url": url}).encode(), {"Content-Type": "text/plain"}

    def invoke(name: str, body: Any, **others: str) -> Request:
        return "POST", f"/models/{name}/invoke", *_post(body, **others)[2:]

    root = "<models>"
    rows = {"instances": [ROW, DENSE_ROW]}
    return {
        "none": ("GET", "/models", None, {}),
        "load": load("a", f"{root}/a"),
        "load, packed": load("b", f"{root}/b"),
        "load again": load("a", f"{root}/a"),
        "load nothing": load("c", f"{root}/c"),
        "load outside": load("c", f"{root}/../.."),
        "load no model": load("c", f"{root}/text"),
        "load no JSON": ("POST", "/models", b"{", {}),
        "load without a url": ("POST", "/models", b'{"model_name": "x"}', {}),
        "list": ("GET", "/models", None, {}),
        "describe": ("GET", "/models/a", None, {}),
        "describe nothing": ("GET", "/models/zz", None, {}),
        "invoke": invoke("a", rows),
        "invoke, packed": invoke("b", rows, accept="text/csv"),
        "invoke nothing": invoke("zz", rows),
        "refused": invoke("a", {"instances": [{"keys": [60], "values": [1]}]}),
        "invocations": _post(rows),
        "unload": ("DELETE", "/models/a", None, {}),
        "unload again": ("DELETE", "/models/a", None, {}),
        "invoke unloaded": invoke("a", rows),
        "ping": ("GET", "/ping", None, {}),
    }


def lay_out_models(root: Path, models: Path, model: str) -> None:
    """Make the tree of an endpoint of one model, or, without a name, of a multi-model endpoint."""
    if model:
        shutil.copytree(models / model, root / "model")
        return
    shutil.copytree(models / "binary", root / "models/a")
    (root / "models/b").mkdir()
    shutil.copy(models / "model.tar.gz", root / "models/b")
    (root / "models/text").mkdir()
    (root / "models/text/model_algo-1").write_text("no model")


@contextlib.contextmanager
def serving(side: Side, root: Path, **variables: str) -> Iterator[int]:
    """A server of one side, of the tree at `root`, with one worker; gives its port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = {
        "FM_OPT_ML": str(root), "SAGEMAKER_BIND_TO_PORT": str(port), "SAGEMAKER_MODEL_SERVER_WORKERS": "1"
    } | variables  # fmt: skip
    with (root / "stdout").open("wb") as stdout, (root / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "container.entrypoint", "serve"], cwd=side.folder, stdout=stdout, stderr=stderr,
            env=side.environment(**environment),
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, (root / "stderr").read_text()
            assert time.monotonic() < deadline, "it does not come up"
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(35)


def ask(side: Side, root: Path, asked: dict[str, Request], **variables: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Ask a server of the tree at `root` everything, each on a connection of its own.

    Yields
    ------
    name : str
    answer : dict of str to bytes
        Status, headers and body; at the end the request log, and what was said on stderr.
    """
    with serving(side, root, **variables) as port:
        for name, (method, path, body, headers) in asked.items():
            if body is not None:
                body = body.replace(b"<models>", bytes(root / "models"))
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                said = answer.read()
                kept = "\n".join(sorted(f"{k}: {v}" for k, v in answer.getheaders() if k.lower() not in _OF_SERVER))
                found = {"status": str(answer.status).encode(), "headers": kept.encode()}
                found |= {"body": said} if answer.status < 400 else {"refusal": _sentence(said)}
                found = {part: blanked(content, side) for part, content in found.items()}
            except (OSError, http.client.HTTPException) as error:
                found = {"status": type(error).__name__.encode()}
            finally:
                connection.close()
            yield name, found
    for name in ("stdout", "stderr"):
        # Two requests may be logged in another order than they were answered in.
        yield name, {name: b"\n".join(sorted(_lines((root / name).read_bytes(), side, str(port))))}


def _sentence(body: bytes) -> bytes:
    """The sentence of a refusal: the body itself, or what is in it by RFC 9457."""
    try:
        return bytes(json.loads(body)["detail"], "utf-8")
    except (ValueError, LookupError, TypeError):
        return body


def _lines(data: bytes, side: Side, port: str) -> Iterator[bytes]:
    for line in io.BytesIO(blanked(data, side)):
        if (
            b"Worker exiting" in line
            or b"gunicorn" in line
            or b"Using worker" in line
            or b"Booting worker" in line
            or b"Listening at" in line
        ):
            continue
        yield line.rstrip().replace(port.encode(), b"<port>")
