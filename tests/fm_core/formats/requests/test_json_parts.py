"""A document in parts is the document: the same instances, or a refusal where there is one."""

import json
import mmap

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from fm_core.errors import DataError
from fm_core.formats.requests import json_parts
from fm_core.formats.requests.json_parts import instance_parts, line_parts

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-1, 1) | st.text('a"\\,[]{}é:', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\]}', max_size=3), inner, max_size=3),
    max_leaves=8,
)
SPACES = st.sampled_from(["", " ", "\n\t ", "\r\n"])


@st.composite
def documents(draw):
    """A document with instances among other members, its text spaced in some way."""
    space = draw(SPACES)
    members = draw(st.lists(st.tuples(st.sampled_from(["a", "b", "instance"]), VALUES), max_size=2))
    members.insert(draw(st.integers(0, len(members))), ("instances", draw(st.lists(VALUES, max_size=8))))

    def text(value):
        if isinstance(value, list):
            return f"[{space}" + f"{space},{space}".join(map(text, value)) + f"{space}]"
        return json.dumps(value, ensure_ascii=False)

    joined = f"{space},{space}".join(f"{json.dumps(name)}{space}:{space}{text(value)}" for name, value in members)
    return f"{space}{{{space}{joined}{space}}}{space}".encode()


@st.composite
def mangled(draw):
    body = bytearray(draw(documents()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body) - 1))
        body[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"", b",", b"]", b"[", b"}", b'"', b"x", b"\xff"])
        )
    return bytes(body)


def found(body, size):
    """All instances, or that there are none, where so many bytes are parsed at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_parts, "PART_BYTES", size)
        try:
            return [item for instances, *_ in instance_parts(body) for item in instances]
        except DataError:
            return None


@given(documents() | mangled(), st.integers(0, 40))
@example(b'{"instances":[1,]}', 0)
@example(b'{"instances":[,1]}', 0)
@example(b'{"instances":[1,,2]}', 0)
@example(b'{"instances":[[1,2},{3,4]]}', 0)
@example(b'{"instances":[1}', 0)
@example(b'{"instances":[1]]', 0)
@example(b'{"instances":[1],"instances":[2]}', 0)
@example(b'{"instances":[1],"inst\\u0061nces":[2]}', 0)
@example(b'{"instances":[1]} x', 0)
@example(b'{"instances":[1],}', 0)
@example(b'{"a":1 2,"instances":[1]}', 0)
@example(b'{"instances":["', 0)
@example(b'{"instances":["\\"]}', 0)
@example(b"", 0)
def test_parts_are_the_whole(body, size):
    assert found(body, size) == found(body, 1 << 30)


@st.composite
def texts(draw):
    """A document, its members as they come, so that some are there twice."""

    def text(value):
        if isinstance(value, tuple):
            return "{" + ",".join(f"{write(name)} :{text(inner)}" for name, inner in value) + "}"
        return "[" + ", ".join(map(text, value)) + "]" if isinstance(value, list) else write(value)

    def write(value):
        return json.dumps(value, ensure_ascii=draw(st.booleans()))

    names = st.text('ab:"\\é', max_size=2)
    values = st.recursive(
        st.none() | st.floats(-1, 1) | names,
        lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(names, inner), max_size=3).map(tuple),
        max_leaves=8,
    )
    members = draw(st.lists(st.tuples(names, values), max_size=2))
    members.insert(draw(st.integers(0, len(members))), ("instances", draw(st.lists(values, max_size=6))))
    return text(tuple(members)).encode()


def is_ambiguous(text):
    sizes = []
    json.loads(text, object_pairs_hook=lambda pairs: sizes.append(len(pairs) > len(dict(pairs))) or dict(pairs))
    return any(sizes)


@given(texts(), st.integers(0, 40))
@example(b'{"instances":[1],"a":1,"a":2}', 0)
@example(b'{"a":1,"instances":[{"b":1}],"a":2}', 0)
@example(b'{"instances":[{"a":":","a":1}]}', 1 << 30)
@example(b'{"instances":1,"instances":[1]}', 0)
@example(b'{"instances":[1],"instances":1}', 0)
def test_a_key_twice_is_refused_wherever_it_stands(body, size):
    assert (found(body, size) is None) == is_ambiguous(body)


def test_a_key_twice_is_named_and_found_in_a_large_body():
    many = b",".join([b'{"a":":","b":[{"c":1}]}'] * 100_000)
    assert sum(len(instances) for instances, *_ in instance_parts(b'{"instances":[%b]}' % many)) == 100_000
    with pytest.raises(DataError, match=r"^the body has the key 'c' twice in one object, expected every key once$"):
        list(instance_parts(b'{"instances":[%b,{"c":1,"c":1}]}' % many))
    with pytest.raises(DataError, match=r"^the body has a key twice in one object"):  # is parsed whole
        list(instance_parts(b'{"inst\\u0061nces":[%b,{"c":1,"c":1}]}' % many))


def test_parts_are_parts_and_come_from_a_mapping_too(tmp_path):
    body = b'{"instances":[' + b",".join(b'{"features":[%d]}' % i for i in range(200_000)) + b"]}"
    parts = [instances for instances, *_ in instance_parts(body)]
    assert len(parts) == len(body) // json_parts.PART_BYTES + 1
    assert [item["features"][0] for part in parts for item in part] == list(range(200_000))
    (tmp_path / "body").write_bytes(body)
    with (tmp_path / "body").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert [instances for instances, *_ in instance_parts(mapped)] == parts
        assert b"".join(line_parts(mapped)) == body


def test_what_is_wrong_in_a_late_part_is_told_with_its_byte():
    good = b'{"instances":[' + b'"\xc3\xa9",' * 400_000
    with pytest.raises(DataError, match=f"the body is not valid JSON: .*: byte {len(good)}; JSON has no NaN"):
        list(instance_parts(good + b"NaN]}"))


@given(st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\n\n"])).map(b"".join), st.integers(1, 5))
def test_lines_are_cut_at_their_ends(body, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_parts, "PART_BYTES", size)
        parts = list(line_parts(body))
    assert b"".join(parts) == body
    assert all(part.endswith(b"\n") for part in parts[:-1])
    assert all(parts)
