"""`fm serve`: a model that `fm train` left is served, in a process of its own, until a signal ends it."""

import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from fm_core.cli import GROUP, main
from tests.conftest import ROOT

TABLE = "shop,day,amount,again\n" + "".join(
    f"{('oslo', 'rome')[i % 2]},2024-0{1 + i % 8}-11,{i % 50},{('no', 'yes')[i % 2]}\n" for i in range(400)
)


@pytest.fixture(scope="module", params=["m", "m.tar.gz"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "t.csv").write_text(TABLE)
    out = folder / request.param
    given = ["--label", "again", "--out", str(out), "--epochs", "5", "--no-report", "--quiet"]
    assert main(["train", str(folder / "t.csv"), *given]) == 0
    return out


def is_declared():
    return any(point.name == "serve" for point in importlib.metadata.entry_points(group=GROUP))


@pytest.mark.skipif(not is_declared(), reason="the installed metadata is older than pyproject.toml: run make develop")
def test_a_model_is_served_with_its_schema_and_class_names(model):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "fm_core", "serve", str(model), "--port", str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None, server.stdout.read()
                time.sleep(0.1)
        rows = [{"columns": {"shop": shop, "day": "2024-03-11", "amount": None}} for shop in ("oslo", "rome", "never")]
        request = urllib.request.Request(
            f"{url}/invocations", json.dumps({"instances": rows}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)["predictions"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert [one["predicted_class"] for one in found[:2]] == ["no", "yes"]
    assert len(found) == 3
    assert [one["predicted_label"] for one in found[:2]] == [0, 1]


@pytest.mark.skipif(not is_declared(), reason="the installed metadata is older than pyproject.toml: run make develop")
def test_what_is_no_model_is_said(tmp_path, capfd):
    assert main(["serve", str(tmp_path)]) == 1
    assert "expected one model file" in capfd.readouterr().err
    assert main(["serve", str(tmp_path), "--port", "0"]) == 1
    assert "--port is 0, expected 1 to 65535" in capfd.readouterr().err


def test_without_the_container_it_is_said_what_to_install(monkeypatch, capfd):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: ())
    assert main(["serve", "model"]) == 1
    assert capfd.readouterr().err == (
        "fm serve: not installed, expected the package factorization-machines-container and what it needs: "
        "`python -m pip install ./container` in a checkout installs both\n"
    )


def test_a_package_that_the_container_misses_is_named(monkeypatch, capfd):
    serve = importlib.metadata.EntryPoint("serve", "no_such_package.fm_serve", "fm_core.commands")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: (serve,))
    assert main(["serve", "model"]) == 1
    assert "fm serve: No module named 'no_such_package', expected the package fac" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"), [(["traain"], "train"), (["train", "x", "--out", "y", "--lable", "z"], "--label")]
)
def test_what_was_perhaps_meant_is_said(given, meant, capfd):
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert f"did you mean {meant}?" in capfd.readouterr().err


@pytest.mark.parametrize(("line", "found"), [("fm tr", "train "), ("fm train t.csv --la", "--label ")])
def test_command_lines_are_completed(line, found, tmp_path):
    pytest.importorskip("argcomplete")
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "found"),
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "fm_core"], env=environment, check=False, timeout=60)
    assert (tmp_path / "found").read_text() == found
