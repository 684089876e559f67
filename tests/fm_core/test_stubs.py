"""The stubs of compiled modules: each module has one, which says what the module has.

A stub is Python, and is executed here: its functions then have signatures to hold against the module's own, and
against the types in the module's text, where constructors' parameters stand too.
"""

import importlib
import inspect
import re
import types
import typing

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import ROOT

pytest.importorskip("typing_extensions", reason="the stubs take Buffer from it")

SOURCES = {file.stem: file for file in sorted((ROOT / "fm_core").rglob("*.pyx"))}

NUMBERS = {
    **{f"{kind}{bits}_t": getattr(np, f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    "float": np.float32,
    "double": np.float64,
    "unsigned char": np.uint8,
}
SCALARS = {
    **dict.fromkeys(("int64_t", "int32_t", "uint64_t", "int", "Py_ssize_t"), int),
    **dict.fromkeys(("double", "float"), float),
    "bint": bool,
    "bytes": bytes,
    "str": str,
    "list": list,
}


class Stub(dict):
    """What a stub's code names; an annotated name stands for its type."""

    def __missing__(self, name):
        return self.get("__annotations__", {})[name]

    def public(self):
        names = {*self, *self.get("__annotations__", {})}
        return {name for name in names if not name.startswith("_") and name not in self.imported}

    def __init__(self, text):
        super().__init__()
        self.imported = set(re.findall(r"\bas (\w+)$|\bimport (\w+)$", text, re.MULTILINE)) and {
            name.split(" as ")[-1].strip()
            for line in re.findall(r"^(?:from \S+ )?import (.+)$", text, re.MULTILINE)
            for name in line.split(",")
        }
        exec(compile(text, "stub", "exec"), self)  # a file of the project


def stub_of(source):
    return Stub(source.with_suffix(".pyi").read_text())


def module_of(source):
    name = ".".join(source.relative_to(ROOT).with_suffix("").parts)
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.skip(f"{name} has no build for this machine")


def names_of(module):
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", module.__name__) == module.__name__
    }


def parameters(function):
    """Names, kinds and defaults."""
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found if p.name != "self"]


def text_of(source):
    text = source.read_text()
    return text + "".join(
        (source.parent / included).read_text() for included in re.findall(r'^include "(.+)"', text, re.MULTILINE)
    )


def headers(source):
    """What the text says of each function: its parameters as written, by ``name`` or ``Class.name``."""
    found, cls = {}, ""
    for line in re.finditer(r"^( *)(?:cdef class (\w+)|def (\w+)\(((?:[^()]|\([^()]*\))*)\):)", text_of(source), re.M):
        indent, begun, name, written = line.groups()
        cls = begun or (cls if indent else "")
        if name:
            # at commas outside of brackets
            parts = re.split(r",\s*(?![^\[]*\]|[^(]*\))", written.replace(" not None", "").strip())
            found[f"{cls}.{name}" if indent else name] = [part for part in parts if part not in ("self", "*", "")]
    return found


def types_of(written):
    """The type that each parameter has in the text, by name; those without one are left out."""
    for parameter in written:
        declared = parameter.split("=")[0].strip()
        array = re.fullmatch(r"(?:const )?([\w ]+)\[[:, 1]+\] (\w+)", declared)
        scalar = re.fullmatch(r"(\w+) (\w+)", declared)
        if array:
            yield array[2], NDArray[NUMBERS[array[1]]]
        elif scalar:
            yield scalar[2], SCALARS[scalar[1]]


def test_every_compiled_module_has_a_stub_and_every_stub_a_module():
    assert SOURCES
    stubs = {file.with_suffix("") for file in (ROOT / "fm_core").rglob("*.pyi")}
    assert {file.with_suffix("") for file in SOURCES.values()} == stubs
    assert (ROOT / "fm_core/py.typed").exists()


@pytest.mark.parametrize("name", SOURCES)
def test_a_stub_has_the_public_names_of_its_module(name):
    assert stub_of(SOURCES[name]).public() == names_of(module_of(SOURCES[name]))


def functions(name):
    """Each function of a stub, and the module's; methods too."""
    stub, module = stub_of(SOURCES[name]), module_of(SOURCES[name])
    for public in sorted(stub.public() & set(stub)):
        declared, there = stub[public], getattr(module, public)
        if not isinstance(declared, type):
            yield public, declared, there
            continue
        for member, function in vars(declared).items():
            if isinstance(function, types.FunctionType):
                yield f"{public}.{member}", function, getattr(there, member)


@pytest.mark.parametrize("name", SOURCES)
def test_parameters_have_the_names_kinds_and_defaults_of_the_module(name):
    for function, declared, there in functions(name):
        if not function.endswith("__"):
            assert parameters(declared) == parameters(there), function


@pytest.mark.parametrize("name", SOURCES)
def test_parameters_have_the_names_and_types_of_the_text(name):
    written = headers(SOURCES[name])
    for function, declared, _ in functions(name):
        if function.endswith("__len__"):
            continue
        header = written.get(function) or written[function.replace("__init__", "__cinit__")]
        names = [parameter.split("=")[0].split()[-1] for parameter in header]
        assert names == [p[0] for p in parameters(declared)], function
        annotations = typing.get_type_hints(declared)
        for parameter, expected in types_of(header):
            found = annotations[parameter]
            kinds = typing.get_args(found) if isinstance(found, types.UnionType) else (found,)
            is_buffer = getattr(found, "__name__", "") == "Buffer" and expected == NDArray[np.uint8]
            assert is_buffer or expected in (*kinds, *map(typing.get_origin, kinds)), f"{function}: {parameter}"


@pytest.mark.parametrize("name", SOURCES)
def test_the_attributes_of_a_class_are_those_of_the_module(name):
    stub, module = stub_of(SOURCES[name]), module_of(SOURCES[name])
    for public in stub.public() & set(stub):
        if isinstance(stub[public], type):
            declared = {*stub[public].__annotations__, *vars(stub[public])}
            there = set(vars(getattr(module, public)))
            assert {n for n in declared if n[0] != "_"} == {n for n in there if n[0] != "_"}, public


def test_a_stub_that_differs_is_found():
    changed = Stub("def within(indptr: int, indices: int, n: int) -> bool: ...\n_hidden: int\nMOST: int\n")
    assert changed.public() == {"within", "MOST"}
    module = module_of(SOURCES["_bounds"])
    assert changed.public() != names_of(module)
    assert [p[0] for p in parameters(changed["within"])] != [p[0] for p in parameters(module.within)]
    assert dict(types_of(headers(SOURCES["_bounds"])["within"])) == {
        "indptr": NDArray[np.int64],
        "indices": NDArray[np.int32],
        "n_values": int,
        "feature_dim": int,
    }
