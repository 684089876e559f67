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


def with_examples():
    """Name the modules whose docstrings have examples."""
    for path in sorted((ROOT / "fm_core").rglob("*.py")):
        if ">>> " in path.read_text():
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("module", list(with_examples()))
def test_its_examples_give_what_they_show(module):
    failed, _ = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


def test_there_are_examples():
    texts = [inspect.getdoc(found) or "" for found in PUBLIC.values()]
    assert sum(">>> " in text for text in texts) >= 14


#: Parameters from which on a function of a module lists them, public or not.
MANY = 3
#: What every exported function and public method lists, however few parameters it has.
HELD = tuple(
    f"fm_core/{name}"
    for name in ("analysis/", "artifact/", "checkpoints/", "cluster/", "estimators/", "formats/", "report/", "tabular/",
                 "training/", "solvers/")
)  # fmt: skip
#: A docstring may name the place that lists them instead.
ELSEWHERE = re.compile(r"parameters are those of\s+`|[Ss]ee `")


def exported(path):
    """Give the functions and the public methods of a module that its `__all__` names, each with its own name."""
    tree = ast.parse(path.read_text())
    declared = [node for node in tree.body if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node.targets)]
    names = {name.value for node in declared for name in ast.walk(node.value) if isinstance(name, ast.Constant)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and node.name in names:
            for method in node.body:
                decorators = {ast.unparse(each) for each in getattr(method, "decorator_list", ())}
                is_own = isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
                if is_own and not any(name == "overload" or name.endswith(".setter") for name in decorators):
                    yield f"{node.name}.{method.name}", method


def missing_of(function):
    """Name what a function takes, gives or raises and does not list."""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    names = [argument.arg for argument in arguments if argument.arg not in UNSAID]
    text = ast.get_docstring(function)
    if text is None or ELSEWHERE.search(text):  # without one, it overrides what has one: ruff sees to that
        return [], [], len(names)
    said = sections(text)
    listed = documented(said.get("Parameters", ""))
    others = []
    gives = function.returns is not None and ast.unparse(function.returns) != "None"
    if gives and len(arguments) > (bool(arguments) and arguments[0].arg in ("self", "cls")):
        others += [] if {"Returns", "Yields"} & set(said) else ["what it returns"]
    own = [node for node in function.body if not isinstance(node, ast.FunctionDef)]
    kinds = {
        ast.unparse(node.exc.func)
        for statement in own
        for node in ast.walk(statement)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    }
    kinds -= {"StopIteration", "NotImplementedError", "TypeError", "AssertionError"}
    if kinds and "Raises" not in said and "raises" not in said[""]:  # a property says it in its first sentence
        others.append("what it raises")
    return [name for name in names if name not in listed], others, len(names)


def modules_of(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_a_function_that_a_module_exports_lists_its_parameters_if_they_are_many():
    found = []
    for path in modules_of("fm_core", "container"):
        for name, function in exported(path):
            missing, _, n = missing_of(function)
            if "." not in name and n >= MANY and missing:
                found.append(f"{path.relative_to(ROOT)}, {name}: {', '.join(missing)}")
    assert found == []


def test_functions_and_methods_of_the_library_list_what_they_take_give_and_raise():
    found = []
    for path in modules_of("fm_core"):
        where = str(path.relative_to(ROOT))
        if not where.startswith(HELD) and path.parent.name != "fm_core":
            continue
        for name, function in exported(path):
            missing, others, _ = missing_of(function)
            if missing or others:
                found.append(f"{where}, {name}: {', '.join([*missing, *others])}")
    assert not found, "\n".join(found)


def test_what_is_not_listed_would_be_found():
    tree = ast.parse('def f(a, b: int) -> int:\n    """Do it.\n\n    Parameters\n    ----------\n    a : int\n    """\n'
                     "    raise ValueError(b)")  # fmt: skip
    assert missing_of(tree.body[0]) == (["b"], ["what it returns", "what it raises"], 2)
