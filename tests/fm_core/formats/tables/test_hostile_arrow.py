"""Arrow files that point outside themselves: refused in a sentence that names the column, and never read.

pyarrow maps the arrays of an Arrow file as they lie there. Each offset, place, size and view is made to lie here; the
files are read in a process of its own, which foreign memory would end.
"""

import json
import struct
import subprocess
import sys

import pytest

from fm_core.errors import DataError, ResourceError
from fm_core.formats.tables.arrow import arrow_tables
from tests.conftest import ROOT

pa = pytest.importorskip("pyarrow")

LIES = (-(10**6), -1, 2 * 10**9)
TEXTS = pa.array(["a", "bc", "defg"])
LISTS = pa.array([[1], [2, 3], [4, 5, 6, 9]], pa.list_(pa.int32()))
FOUR = (0, 1, 3, 7)
VIEWED = b"v" * 40


def columns():
    """Name, array, and what of its bytes is a number: how it is packed, and the numbers in a row."""
    yield "string", TEXTS, "i", FOUR
    yield "large_string", TEXTS.cast(pa.large_string()), "q", FOUR
    yield "binary", TEXTS.cast(pa.binary()), "i", FOUR
    yield "list", LISTS, "i", FOUR
    yield "large_list", LISTS.cast(pa.large_list(pa.int32())), "q", FOUR
    yield "dictionary of texts", pa.DictionaryArray.from_arrays(pa.array([2, 1, 0], pa.int32()), TEXTS), "i", (2, 1, 0)
    numbers = pa.DictionaryArray.from_arrays(pa.array([2, 1, 0], pa.int32()), pa.array([1.5, 2, 3]))
    yield "dictionary of numbers", numbers, "i", (2, 1, 0)
    if hasattr(pa, "string_view"):
        view = pa.array(["a", VIEWED.decode(), "b"], pa.string_view())
        yield "string_view", view, "i", struct.unpack("<4i", view.buffers()[1].to_pybytes()[16:32])
    if hasattr(pa, "ListViewArray"):
        starts, sizes = pa.array([0, 1, 3], pa.int32()), pa.array([1, 2, 4], pa.int32())
        lists = pa.ListViewArray.from_arrays(starts, sizes, pa.array(range(10, 17)))
        yield "starts of list_view", lists, "i", (0, 1, 3)
        yield "sizes of list_view", lists, "i", (1, 2, 4)


def files(array, opened):
    sink = pa.BufferOutputStream()
    batch = pa.record_batch([pa.array([1.0, 0.0, 1.0]), array], ["label", "a"])
    with opened(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def specimens():
    for name, array, code, numbers in columns():
        for opened in (pa.ipc.new_file, pa.ipc.new_stream):
            content = files(array, opened)
            right = struct.pack(f"<{len(numbers)}{code}", *numbers)
            assert right in content, name
            for at in range(len(numbers)):
                if name == "string_view" and at == 1:  # the beginning of the text, which is only ever compared
                    continue
                for lie in LIES:
                    wrong = struct.pack(f"<{len(numbers)}{code}", *numbers[:at], lie, *numbers[at + 1 :])
                    yield f"{name} {opened.__name__} {at} {lie}", content.replace(right, wrong)


_CHILD = """
import json, pathlib, sys
from fm_core.errors import FMError
from fm_core.formats.tables.arrow import arrow_tables
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    text = "read"
    try:
        for table in arrow_tables(str(path)):
            for column in range(len(table.names)):
                table.is_list(column) or table.codes(column)
    except FMError as error:
        text = str(error)
    print(json.dumps([path.name, text]), flush=True)
"""


def test_nothing_outside_an_arrow_file_is_read(tmp_path):
    wanted = {f"{number}.arrow": (name, content) for number, (name, content) in enumerate(specimens())}
    assert len(wanted) > 100
    for file, (_, content) in wanted.items():
        (tmp_path / file).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    said = dict(map(json.loads, done.stdout.splitlines()))
    assert done.returncode == 0, f"ended after {wanted[max(said)][0] if said else 'nothing'}: {done.stderr[-500:]}"
    wrong = {wanted[file][0]: text for file, text in said.items() if f"{file}: column 'a': " not in text}
    assert not wrong


@pytest.mark.parametrize("opened", [pa.ipc.new_file, pa.ipc.new_stream])
def test_a_name_that_is_no_text_is_refused(tmp_path, opened):
    path = tmp_path / "x.arrow"
    path.write_bytes(files(TEXTS, opened).replace(b"label", b"la\xff\xfel"))
    with pytest.raises(DataError, match=r"x\.arrow: 'utf-8' codec can't decode byte 0xff .*expected an Arrow file"):
        list(arrow_tables(str(path)))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("lie", [-5, 10, 1 << 62])
def test_a_false_length_of_compressed_bytes_is_refused(tmp_path, compression, lie):
    path, sink = tmp_path / "x.arrow", pa.BufferOutputStream()
    batch = pa.record_batch([pa.array([0.0] * 1000)], ["a"])
    with pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    content = sink.getvalue().to_pybytes()
    assert struct.pack("<q", 8000) in content
    path.write_bytes(content.replace(struct.pack("<q", 8000), struct.pack("<q", lie)))
    with pytest.raises((DataError, ResourceError), match=r"x\.arrow: "):
        list(arrow_tables(str(path)))
