"""examples/films: a page that asks an endpoint for ten films, used in a real browser; and its server without one."""

import contextlib
import csv
import http.client
import json
import os
import re
import subprocess
import sys

import pytest

from fm_core.artifact.model_file import load_model
from fm_core.cli import main
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.frames import frame_table
from fm_core.formats.tables.schema import TableSchema
from tests.conftest import ROOT
from tests.contract.serving import serving
from tests.examples.browser import CHROMIUM, browser

FILMS = ROOT / "examples/films"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A model of examples/make_ratings.py's ratings, with its catalogue."""
    root = tmp_path_factory.mktemp("films")
    subprocess.run([sys.executable, ROOT / "examples/make_ratings.py"], cwd=root, check=True)
    model = str(root / "model")
    assert main(["train", str(root / "ratings.csv"), "--label", "rating", "--out", model, "--quiet", "--no-report",
                 "--epochs", "30"]) == 0  # fmt: skip
    assert main(["catalogue", model, str(root / "films.csv")]) == 0
    return root


@contextlib.contextmanager
def page_server(root, *arguments):
    """The example's server; gives its address."""
    process = subprocess.Popen(
        [sys.executable, FILMS / "serve_page.py", "--port", "0", *map(str, arguments)], cwd=root,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def address(root, tmp_path_factory):
    with (
        serving(root, tmp_path_factory.mktemp("log"), SAGEMAKER_MODEL_SERVER_WORKERS=1) as server,
        page_server(
            root, "--endpoint", f"http://127.0.0.1:{server.port}/invocations", "--seen", "ratings.csv"
        ) as found,
    ):
        yield found


def ask(address, method, path, body=None, **headers):
    with contextlib.closing(http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)) as connection:
        body = json.dumps(body) if isinstance(body, dict) else body
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def ratings_of(root, person):
    with (root / "ratings.csv").open() as file:
        return [row["film"] for row in csv.DictReader(file) if row["person"] == person]


def best_of(root, person, genre=None):
    """The ten films by a plain score of every one that the person has not seen."""
    model = load_model(root / "model")
    schema = TableSchema.load(root / "model/schema.json")
    with (root / "films.csv").open() as file:
        films = [row["film"] for row in csv.DictReader(file) if genre in (None, row["genre"])]
    films = [film for film in films if film not in ratings_of(root, person)]
    rows = Encoder(schema, labels="none").encode(frame_table({"person": [person] * len(films), "film": films}))
    scores = model.predict(rows)
    return [films[i] for i in (-scores).argsort(kind="stable")[:10]]


SHOWN = "[...document.querySelectorAll('#best li .name')].map(name => name.textContent)"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is absent (on Debian: apt-get install chromium)")
def test_a_person_gets_ten_films_and_reasons_in_a_browser(root, address, tmp_path):
    with browser(tmp_path) as page:
        page.open(address)
        page.wait_for("document.querySelectorAll('#film option').length === 60")
        page.type_into("#who", "person 7")
        page.click("#ask")
        page.wait_for("document.querySelectorAll('#best li').length")
        assert page.evaluate(SHOWN) == best_of(root, "person 7")
        why = page.evaluate("[...document.querySelectorAll('.why')].map(why => why.textContent)")
        assert len(why) == 10
        assert all(re.match(r"because .*person 7.* [+\u2212]\d\.\d\d", line) for line in why)

        page.evaluate("document.querySelector('[data-column=genre]').value = 'horror'")
        page.click("#ask")
        page.wait_for(f"{SHOWN}.length && {SHOWN}.every(name => name.startsWith('horror'))")
        assert page.evaluate(SHOWN) == best_of(root, "person 7", "horror")

        # somebody who was there has no other history
        page.click("#add")
        page.click("#ask")
        page.wait_for("document.querySelector('#sorry').textContent.includes('the history has no column')")
        assert page.evaluate(SHOWN) == []
        page.click("#rated button")

        # somebody new is known by three ratings
        page.evaluate("document.querySelector('#form').reset()")
        for film, label in (("horror 1", 5), ("horror 2", 5), ("comedy 1", 1)):
            page.evaluate(f"document.querySelector('#film').value = '{film}'")
            page.evaluate(f"document.querySelector('#label').value = '{label}'")
            page.click("#add")
        assert page.evaluate("document.querySelectorAll('#rated li').length") == 3
        page.click("#ask")
        page.wait_for("document.querySelectorAll('#best li').length === 10")
        shown = page.evaluate(SHOWN)
        assert not {"horror 1", "horror 2", "comedy 1"} & set(shown)
        assert sum(name.startswith("horror") for name in shown[:5]) >= 3
        page.click("#rated button")
        assert page.evaluate("document.querySelectorAll('#rated li').length") == 2
        for width, scheme in ((400, "dark"), (1200, "light")):
            page.size(width, 800, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert all("400 (Bad Request)" in error for error in page.errors), page.errors


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is absent (on Debian: apt-get install chromium)")
def test_names_are_texts_and_an_endpoint_that_is_gone_is_said(tmp_path):
    script = tmp_path / "fake.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(FILMS)!r})\n"
        "import serve_page\n"
        "from http.server import ThreadingHTTPServer\n"
        "films = serve_page.Films('http://127.0.0.1:1/', 'user', {}, [1, 5])\n"
        "evil = '<img src=x onerror=document.title=1>'\n"
        "films.films = lambda: {'item': 'film', 'films': [{'film': evil, 'genre': g} for g in ('a', evil)],"
        " 'labels': [1, 5]}\n"
        "server = ThreadingHTTPServer(('127.0.0.1', 0), serve_page.handler_of(films))\n"
        "print(server.server_port, flush=True)\n"
        "server.serve_forever()\n"
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        with browser(tmp_path) as page:
            page.open(address)
            page.wait_for("document.querySelectorAll('#film option').length === 2")
            page.click("#add")
            assert page.evaluate("document.querySelector('#rated li').textContent").startswith("<img")
            page.click("#ask")
            page.wait_for("document.querySelector('#sorry').textContent.includes('does not answer')")
            assert page.evaluate("document.title") == "Ten films"
            assert page.evaluate("document.images.length") == 0
    finally:
        process.kill()
        process.communicate()


def test_its_server_asks_the_endpoint_for_what_the_page_may_ask(root, address):
    status, headers, body = ask(address, "GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert body == (FILMS / "page.html").read_bytes()
    status, _, body = ask(address, "GET", "/films")
    films = json.loads(body)
    assert (status, films["item"], len(films["films"]), films["labels"]) == (200, "film", 60, [1, 2, 3, 4, 5])
    assert set(films["films"][0]) == {"film", "genre", "year"}
    status, _, body = ask(address, "POST", "/recommend", {"user": "person 7"})
    assert [item["columns"]["film"] for item in json.loads(body)["items"]] == best_of(root, "person 7")


@pytest.mark.parametrize(
    ("body", "headers", "status", "sentence"),
    [
        ({"user": "nobody"}, {}, 200, None),  # as one of whom nothing is known
        ({"user": "person 7", "history": []}, {}, 400, "the history has no column to replace"),
        ({"user": "person 7", "filter": 7}, {}, 400, '"filter" is 7'),
        ({"user": "person 7", "top_k": 10**9, "exclude": 3}, {}, 200, None),  # which the page cannot ask for
        ({"user": {"a": 1}}, {}, 400, "expected a text"),
        ("[1]", {}, 400, "not a JSON object"),
        ("{", {}, 400, "not JSON"),
        ("user=person+7", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "Expected a body of JSON"),
        ("x" * 70_000, {}, 413, "expected at most 65536"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(address, body, headers, status, sentence):
    found, _, text = ask(address, "POST", "/recommend", body, **headers)
    assert found == status, text
    if sentence is not None:
        assert sentence in json.loads(text)["detail"]
    assert ask(address, "GET", "/nothing")[0] == 404


def test_without_an_endpoint_or_the_column_a_sentence_says_so(root):
    with page_server(root, "--endpoint", "http://127.0.0.1:1/invocations") as address:
        status, _, body = ask(address, "GET", "/films")
        assert status == 502
        assert "http://127.0.0.1:1/invocations does not answer" in json.loads(body)["detail"]
    done = subprocess.run(
        [sys.executable, FILMS / "serve_page.py", "--seen", "ratings.csv", "--user", "user"], cwd=root,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "ratings.csv has no column 'user', expected one: found person, film, rating\n"
