"""Each fact of the project is known in one place: the table of docs/explanation/architecture.md, held here.

import-linter holds the direction of imports among .py files (`make lint`); this reads the
code of .py, .pyx and .pxi alike, its comments and docstrings left out.
"""

import ast
import functools
import importlib
import importlib.util
import io
import re
import token
import tokenize

import pytest

from fm_core.hyperparameters import parameters
from tests.conftest import ROOT

SOURCES = sorted(
    file
    for folder in ("fm_core", "container")
    for suffix in ("py", "pyx", "pxi", "pxd")
    for file in (ROOT / folder).rglob(f"*.{suffix}")
)

# fact: (what gives it away in the code, the files that may know it; a folder stands for all in it)
FACTS = {
    "where SageMaker's tree lies": (r"[\"']/opt/ml[\"']", ["container/environment.py"]),
    "names of the configuration files": (
        r"(hyperparameters|inputdataconfig|resourceconfig|checkpointconfig)\.json",
        ["container/training/job.py"],
    ),
    # The Prometheus client reads a variable of its own, which container/serving/metrics.py sets.
    "environment variables": (
        r"\bos \. environ (\. get\b|\[)|\bgetenv\b",
        # The shell puts the line that argcomplete completes there.
        ["fm_core/kernels/__init__.py", "container/serving/metrics.py", "fm_core/cli/completion.py"],
    ),
    "names of environment variables": (
        r"[\"'](FM|SAGEMAKER)_[A-Z_]+[\"']",
        [
            "container/environment.py",
            "container/serving/settings.py",
            "container/training/settings.py",
            "fm_core/kernels/__init__.py",
        ],
    ),
    "cores and memory of the machine": (
        r"\bsched_getaffinity\b|\bcpu_count\b|\bSC_PHYS_PAGES\b|\bMemAvailable\b|[\"']memory\.max",
        ["fm_core/resources.py"],
    ),
    "FIFOs": (r"\bmkfifo\b|\bS_ISFIFO\b|\bis_fifo\b|\bO_NONBLOCK\b", ["container/training/channels.py"]),
    "exit codes": (
        r"\bsys\s*\.\s*exit\b|\bSystemExit\b|\b_exit\b",
        [
            "container/entrypoint.py",
            "container/serve.py",
            "container/stopping.py",
            "fm_core/cli/__main__.py",
            "fm_core/__main__.py",
        ],
    ),
    "Flask": (r"\bflask\b", ["container/serving/app.py"]),
    "gunicorn": (r"\bgunicorn\b", ["container/serving/server.py", "container/serving/worker.py"]),
    "HTTP error statuses": (r"(?<!< )\b(40[1-9]|41[0-9]|42[0-9]|50[1-9])\b", ["container/serving/errors.py"]),
    "media types of data": (
        r"\b(application/(jsonlines|x-)|text/(csv|libsvm))",
        [
            "container/serving/requests.py",
            "container/serving/responses.py",
            "container/training/job.py",
            "fm_core/formats/recordio/__init__.py",
            "fm_core/formats/registry/__init__.py",
        ],
    ),
    "the RecordIO magic": (r"(?i)0xced7230a", ["fm_core/formats"]),
    "compiler flags": (r"-O[23]\b|-fopenmp|-mavx|-ffast-math", []),
    "where randomness comes from": (
        r"\bdefault_rng\b|\b(np|numpy) \. random\b|\bimport random\b",
        ["fm_core/solvers/bayes/randomness.py", "fm_core/training/shuffle.py"],
    ),
}


@functools.cache
def code_of(text: str) -> str:
    """Leave out the comments and docstrings of Python or Cython text."""
    kept = []
    statement_begins = True
    for item in tokenize.generate_tokens(io.StringIO(text).readline):
        if item.type in (token.NEWLINE, token.NL, token.INDENT, token.DEDENT):
            statement_begins = statement_begins or item.type == token.NEWLINE
        elif item.type != tokenize.COMMENT:
            if not (item.type == token.STRING and statement_begins):
                kept.append(item.string)
            statement_begins = False
    return " ".join(kept)


def test_docstrings_and_comments_are_left_out_and_other_strings_kept():
    assert code_of('"""/opt/ml"""\n\ndef f():\n    """gunicorn"""  # flask\n    return "kept"\n').split() == [
        *["def", "f", "(", ")", ":"],
        "return",
        '"kept"',
    ]


def test_there_are_sources_to_look_at():
    assert {file.suffix for file in SOURCES} >= {".py", ".pyx", ".pxi"}


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_is_known_in_its_place_only(fact):
    pattern, places = FACTS[fact]
    knows = [
        name
        for file in SOURCES
        if re.search(pattern, code_of(file.read_text()))
        and not any((name := str(file.relative_to(ROOT))) == place or name.startswith(place + "/") for place in places)
    ]
    assert not knows, f"{fact}: known in {', '.join(knows)}, expected only in {', '.join(places) or 'setup.py'}"


@pytest.mark.parametrize("fact", [fact for fact, (_, places) in FACTS.items() if places])
def test_the_place_of_a_fact_does_know_it(fact):
    pattern, places = FACTS[fact]
    for place in places:
        texts = [code_of(f.read_text()) for f in SOURCES if str(f.relative_to(ROOT)).startswith(place)]
        assert any(re.search(pattern, text) for text in texts), f"{place} no longer knows {fact}: mend this table"


@pytest.mark.parametrize("file", [f for f in SOURCES if f.is_relative_to(ROOT / "fm_core")], ids=lambda f: f.name)
def test_fm_core_names_nothing_of_the_container(file):
    """But what to install for `fm serve`."""
    code = re.sub(r"factorization-machines-container|pip install \./container", "", code_of(file.read_text()))
    assert not re.search(r"\b(container|flask|gunicorn|werkzeug|http)\b", code)


@pytest.mark.parametrize("file", sorted((ROOT / "container").rglob("*.py")), ids=lambda f: f.name)
def test_the_container_uses_public_names_of_fm_core_only(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fm_core":
            if node.module == "fm_core.cluster.process_group" and not importlib.util.find_spec("torch"):
                continue  # looked at where PyTorch is
            module = importlib.import_module(node.module)
            private = [a.name for a in node.names if not public(module, a.name)]
            assert not private, f"{file.name}, line {node.lineno}: {', '.join(private)} not in {node.module}.__all__"


def public(module, name):
    return (
        name == "__version__"
        or name in getattr(module, "__all__", ())
        or (hasattr(module, "__path__") and not name.startswith("_") and not hasattr(module, "__all__"))
    )


# --- what is private ---

#: Private by their form, and public: hyperparameters, compiled modules, and what named tuples have.
PUBLIC = {*parameters(), "_replace", "_asdict", "_fields"} | {file.stem for file in (ROOT / "fm_core").rglob("*.pyx")}

OURS = [
    file
    for folder in ("fm_core", "container", "tests", "benchmarks", "tools", "local_test", "docs", "examples")
    for file in sorted((ROOT / folder).rglob("*.py"))
]


def is_private(name):
    return name.startswith("_") and not name.endswith("__") and bool(name.strip("_")) and name not in PUBLIC


def defined_in(nodes):
    """The private names that are defined: classes, functions, variables and attributes."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names = [
                name for target in getattr(node, "targets", [getattr(node, "target", None)]) for name in stored(target)
            ]
        else:
            names = stored(node)
        yield from filter(is_private, names)


def stored(node):
    """Names of variables and attributes that are assigned to."""
    if isinstance(node, ast.Tuple | ast.List):
        return [name for element in node.elts for name in stored(element)]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    return [node.attr] if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) else []


def used_in(nodes):
    """What is imported and what is used of something; what stands in a string, as a name to be replaced; with lines."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.name, False, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield node.attr, False, node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.]+", node.value):
            yield node.value.split(".")[-1], True, node.lineno


@functools.cache
def privates():
    """The private names of fm_core and container: all of them, and those of modules."""
    trees = [ast.parse(file.read_text()) for file in SOURCES if file.suffix == ".py"]
    everywhere = {name for tree in trees for name in defined_in(ast.walk(tree))}
    return everywhere, {name for tree in trees for name in defined_in(tree.body)}


def strangers(text):
    """The private names that a module takes from others."""
    everywhere, of_modules = privates()
    nodes = list(ast.walk(ast.parse(text)))
    own = set(defined_in(nodes))
    return [
        f"line {line}: {name}"
        for name, is_said, line in used_in(nodes)
        if name in (of_modules if is_said else everywhere) and name not in own
    ]


def test_a_private_name_is_used_where_it_is_defined():
    found = {str(file.relative_to(ROOT)): strangers(file.read_text()) for file in OURS}
    assert {file: names for file, names in found.items() if names} == {}


def test_private_names_of_others_are_found():
    for text in (
        "from fm_core.cli import _read",
        "x._begin()",
        "y._members.z",
        "setattr(module, '_numbers', 1)",
        "patch('fm_core.batch._numbers')",
    ):
        assert strangers(text), text
    assert not strangers("def _numbers(): ...\nx._numbers()")
    assert not strangers("hp._optimizer, row._replace(a=1), '_members'")


# --- sizes ---

#: Lines of a file that is not a text of kernels, nor of a decoder's inner loops.
MOST_LINES = 500


@pytest.mark.parametrize("file", [f for f in SOURCES if f.suffix == ".py"], ids=lambda f: str(f.relative_to(ROOT)))
def test_a_module_is_short_enough_to_be_about_one_thing(file):
    assert len(file.read_text().splitlines()) <= MOST_LINES, "split it by its subjects"
