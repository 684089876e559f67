"""Every public name says what it takes, gives and raises; the examples of docstrings give what they show."""

import ast
import doctest
import importlib
import inspect
import re
import textwrap

import pytest

import fm_core
from fm_core.hyperparameters import parameters
from tests.conftest import ROOT

#: Names of parameters that need no word: a path is what the first line says is read or written.
UNSAID = {"self", "cls", "given", "path"}


def public():
    """Name the public classes and functions, and the public methods of the classes, each with its object."""
    for name in fm_core.__all__:
        found = getattr(fm_core, name)
        yield name, found
        if inspect.isclass(found) and not issubclass(found, Exception):
            for method, attribute in vars(found).items():
                function = getattr(attribute, "__func__", attribute)
                if not method.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{method}", function


PUBLIC = dict(public())


def sections(text):
    """Cut a numpydoc docstring at its headings."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented(text):
    """Name what a section has entries for: names at the left margin, several of them between commas."""
    entries = re.findall(r"^(\*{0,2}\w[\w*, ]*?)(?: :.*)?$", text, re.MULTILINE)
    return [name.strip().lstrip("*") for entry in entries for name in entry.split(",")]


def raises(function):
    """Tell whether a function's own lines raise an exception for its caller."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    kinds = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    names = {ast.unparse(kind.func if isinstance(kind, ast.Call) else kind) for kind in kinds}
    return names - {"StopIteration", "NotImplementedError"}


@pytest.mark.parametrize("name", PUBLIC)
def test_it_has_a_docstring(name):
    assert len((inspect.getdoc(PUBLIC[name]) or "").strip()) > 20


@pytest.mark.parametrize("name", [name for name, found in PUBLIC.items() if not inspect.isclass(found)])
def test_a_function_says_what_it_takes_gives_and_raises(name):
    function = PUBLIC[name]
    said = sections(inspect.getdoc(function))
    signature = inspect.signature(function)
    expected = [parameter for parameter in signature.parameters if parameter not in UNSAID]
    assert [p for p in documented(said.get("Parameters", "")) if p in expected] == expected
    # What takes nothing says what it gives in its first line.
    if expected and signature.return_annotation not in (None, "None", inspect.Signature.empty):
        assert "Returns" in said or "Yields" in said
    assert "Raises" in said or not raises(function)


@pytest.mark.parametrize("name", [name for name, found in PUBLIC.items() if inspect.isclass(found)])
def test_a_class_says_what_it_has(name):
    found = PUBLIC[name]
    said = sections(inspect.getdoc(found))
    if issubclass(found, Exception):
        return
    if found is fm_core.Hyperparameters:  # its fields are declarations, each with a sentence
        assert [name for name, declared in parameters().items() if len(declared.doc) < 10] == []
        return
    assert {"Parameters", "Attributes"} & set(said)
    listed = documented(said.get("Parameters", "") + said.get("Attributes", ""))
    assert [p for p in inspect.signature(found).parameters if p not in listed and p not in UNSAID] == []


@pytest.mark.parametrize("module", sorted({found.__module__ for found in PUBLIC.values()}))
def test_its_examples_give_what_they_show(module):
    failed, _ = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


def test_there_are_examples():
    texts = [inspect.getdoc(found) or "" for found in PUBLIC.values()]
    assert sum(">>> " in text for text in texts) >= 8


#: Parameters from which on a function of a module lists them, public or not.
MANY = 3
#: A docstring may name the place that lists them instead.
ELSEWHERE = re.compile(r"parameters are those of\s+`|^See `", re.MULTILINE)


def exported(path):
    """Give the functions of a module that its `__all__` names."""
    tree = ast.parse(path.read_text())
    declared = [node for node in tree.body if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node.targets)]
    names = {name.value for node in declared for name in ast.walk(node.value) if isinstance(name, ast.Constant)}
    return [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]


def test_a_function_that_a_module_exports_lists_its_parameters_if_they_are_many():
    found = []
    for path in [*(ROOT / "fm_core").rglob("*.py"), *(ROOT / "container").rglob("*.py")]:
        for function in exported(path):
            of = function.args
            arguments = [argument.arg for argument in (*of.posonlyargs, *of.args, *of.kwonlyargs)]
            text = ast.get_docstring(function) or ""
            said = documented(sections(text).get("Parameters", ""))
            missing = [name for name in arguments if name not in said and name not in UNSAID]
            if len(arguments) >= MANY and missing and not ELSEWHERE.search(text):
                found.append(f"{path.relative_to(ROOT)}, {function.name}: {', '.join(missing)}")
    assert found == []
