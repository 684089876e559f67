"""The docs say what there is, and nothing that is gone."""

import re
import runpy

import pytest

from container.serving.errors import STATUSES
from container.serving.requests import DECODERS
from container.serving.responses import ENCODERS
from container.serving.settings import ServingSettings
from container.training.settings import TrainingSettings
from tests.conftest import ROOT

FOLDERS = ("", "docs/", "docs/*/", "benchmarks/", "benchmarks/results/", "local_test/", "local_test/a9a/")
PAGES = {
    file.relative_to(ROOT).as_posix(): file.read_text() for folder in FOLDERS for file in ROOT.glob(folder + "*.md")
}
DOCS = "\n".join(text for name, text in PAGES.items() if name == "README.md" or name.startswith("docs/"))


class Recorder(dict):
    """An environment that remembers which names were asked for."""

    def __init__(self, **variables):
        super().__init__(variables)
        self.asked = set()

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name):
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name):
        self.asked.add(name)
        return super().__contains__(name)


def variables_of_the_code():
    environ = Recorder(FM_METRICS_PORT="auto", SAGEMAKER_SAFE_PORT_RANGE="9000-9999", SAGEMAKER_BATCH="true")
    TrainingSettings.from_environment(environ)
    ServingSettings.from_environment(environ, cores=2, memory=2**32)
    kernels = (ROOT / "fm_core/kernels/__init__.py").read_text()
    return environ.asked | set(re.findall(r"environ\.get\(\"(\w+)\"", kernels))


def test_the_table_of_hyperparameters_is_what_make_docs_writes():
    page = runpy.run_path(str(ROOT / "docs/make_tables.py"))["page"]
    assert PAGES["docs/reference/hyperparameters.md"] == page(), "run `make docs`"


def test_the_description_of_the_endpoint_is_what_make_docs_writes():
    openapi = runpy.run_path(str(ROOT / "docs/make_tables.py"))["openapi"]
    assert (ROOT / "docs/openapi.json").read_text() == openapi(), "run `make docs`"


def test_the_layers_are_those_that_import_linter_holds():
    architecture = runpy.run_path(str(ROOT / "docs/make_tables.py"))["architecture"]
    assert PAGES["docs/explanation/architecture.md"] == architecture(), "run `make docs`"


def test_every_setting_is_documented_and_none_that_is_gone():
    documented = set(re.findall(r"^\| `(\w+)`", PAGES["docs/reference/settings.md"], re.MULTILINE))
    assert documented == variables_of_the_code()


@pytest.mark.parametrize("status", sorted({status for _, status in STATUSES}))
def test_every_status_is_documented(status):
    assert re.search(rf"^\| `?{status}`? \|", DOCS, re.MULTILINE)


def test_no_status_is_documented_that_is_gone():
    given = {status for _, status in STATUSES} | {200, 404, 405, 500}  # Flask's own, and a bug of ours
    assert {int(status) for status in re.findall(r"^\| `?([1-5][0-9][0-9])`? \|", DOCS, re.MULTILINE)} <= given


@pytest.mark.parametrize("media_type", sorted({*DECODERS, *ENCODERS}))
def test_every_media_type_is_documented(media_type):
    assert f"`{media_type}`" in DOCS


def anchors(page):
    """Name the headings of a page as GitHub and MkDocs do."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    found = []
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.append(re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert there.exists(), f"{page} links to {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there.read_text()), f"{page} links to {target}: no such heading"


def test_the_verbs_that_are_named_exist():
    verbs = set(re.findall(r"^([\w-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {verb for text in PAGES.values() for verb in re.findall(r"`make ([a-z-]+)", text)}
    named |= set(re.findall(r"^make ([a-z-]+)(?: |$)", PAGES["README.md"], re.MULTILINE))
    assert named <= verbs


def test_every_page_of_docs_is_in_its_table_of_contents():
    listed = set(re.findall(r"\]\(([\w./-]+\.md)\)", PAGES["docs/README.md"]))
    assert {name.removeprefix("docs/") for name in PAGES if name.startswith("docs/")} - {"README.md"} <= listed
