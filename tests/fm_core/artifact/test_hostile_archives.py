"""Archives that ask for more than there is: refused in a sentence, in little memory and time."""

import contextlib
import gzip
import io
import json
import os
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.artifact.archive import Archive, opened
from fm_core.artifact.limits import Limits
from fm_core.artifact.model_file import load_model
from fm_core.errors import ArtifactError, ResourceError
from fm_core.model import Model
from tests import artifacts
from tests.conftest import ROOT

MODEL = Model("regressor", 0.5, np.arange(4, dtype=np.float32), np.ones((4, 2), np.float32))
ZIP = artifacts.zipped(
    {"meta.json": artifacts.meta(MODEL), "params": artifacts.params(artifacts.sparse_network(MODEL))}
)


def header(size, kind=b"0", name="x"):
    """A tar header that says any size."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return bytes(block)


def zipped_zeros(*pieces):
    """Gzip of pieces, of which a number stands for so many zeros."""
    packer = zlib.compressobj(6, wbits=31)
    packed = []
    for piece in pieces:
        if isinstance(piece, int):
            packed += [packer.compress(bytes(1 << 20)) for _ in range(piece >> 20)]
        else:
            packed.append(packer.compress(piece))
    return b"".join(packed) + packer.flush()


def zip_of_many(n):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(n):
            archive.writestr(zipfile.ZipInfo(str(i)), b"")
    return file.getvalue()


def deflated_zeros(megabytes):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.writestr("meta.json", artifacts.meta(MODEL))
        with archive.open("params", "w") as member:
            for _ in range(megabytes):
                member.write(bytes(1 << 20))
    return file.getvalue()


def with_end(**fields):
    """The zip with other numbers in its last 22 bytes."""
    names = ("mark", "disk", "first", "here", "total", "size", "offset", "comment")
    end = dict(zip(names, struct.unpack("<4s4H2LH", ZIP[-22:]), strict=True)) | fields
    return ZIP[:-22] + struct.pack("<4s4H2LH", *end.values())


def no_rows(feature_dim, num_factors):
    """A model of that size, of which no row is stored."""
    arrays = {
        "arg:w1_weight": artifacts.row_sparse(np.ones((0, 1), np.float32), [], feature_dim),
        "arg:w0_weight": artifacts.dense(np.zeros(1, np.float32)),
        "arg:v": artifacts.row_sparse(np.ones((0, num_factors), np.float32), [], feature_dim),
    }
    meta = artifacts.meta(MODEL, feature_dim=str(feature_dim), num_factors=str(num_factors))
    return artifacts.zipped({"meta.json": meta, "params": artifacts.params(arrays)})


END = bytes(1024)
LARGE = 1 << 27
HOSTILE = {
    "a member of 2^62 bytes": header(1 << 62) + END,
    "a member of 2^62 bytes, gzip": gzip.compress(header(1 << 62) + END),
    "a model of 2^62 bytes": header(1 << 62, name="model_algo-1") + END,
    "a model of 2^62 bytes, gzip": gzip.compress(header(1 << 62, name="model_algo-1") + END),
    "a model of many zeros": zipped_zeros(header(LARGE, name="model_algo-1"), LARGE, END),
    "a long name of 2^62 bytes": header(1 << 62, b"L") + END,
    "a long name of many zeros": zipped_zeros(header(LARGE, b"L"), LARGE, END),
    "a long link of many zeros": zipped_zeros(header(LARGE, b"K"), LARGE, END),
    "a pax header of many zeros": zipped_zeros(header(LARGE, b"x"), LARGE, END),
    "a pax header of 2^40 bytes": header(1 << 40, b"x") + END,
    "a pax header for all": zipped_zeros(header(LARGE, b"g"), LARGE, END),
    "a pax record that is none": header(600, b"x") + b"9" * 1024 + END,
    "a pax record longer than its header": header(30, b"x") + b"99999 path=model_".ljust(512, b"\0") + END,
    "a size in a pax header": header(30, b"x")
    + b"30 size=9999999999999999999999\n".ljust(512, b"\0")
    + header(0)
    + END,
    "a negative size": header(-512) + END,
    "a negative long name": header(-512, b"L") + END,
    "a negative model": header(-512, name="model_algo-1") + END,
    "a link": header(0, b"2", "model_algo-1") + END,
    "a sparse member": header(LARGE, b"S", "model_algo-1") + END,
    "an unknown member": header(1 << 50, b"Z") + END,
    "very many members": header(0) * 20_000 + END,
    "very many long names": (header(512, b"L") + b"a" * 512) * 20_000 + END,
    "a header cut": header(0)[:300],
    "a wrong checksum": header(0)[:150] + b"1" + header(0)[151:] + END,
    "very many pieces of gzip": gzip.compress(b"") * 50_000,
    "very many pieces of gzip in a large file": gzip.compress(b"") * 1_000_000,
    "a gzip name without an end": b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * (1 << 20),
    "gzip in gzip": gzip.compress(gzip.compress(header(0) + END)),
    "a tar in a tar": artifacts.tarred({"model_algo-1": artifacts.tarred({"model_algo-1": ZIP})}),
    "a zip of a tar": artifacts.zipped({"model.tar.gz": artifacts.tarred({"model_algo-1": ZIP})}),
    "very many entries": zip_of_many(20_000),
    "a zip of zeros": deflated_zeros(128),
    "a directory beyond the file": with_end(offset=len(ZIP) + 50),
    "a directory of 4 GB": with_end(size=2**32 - 2),
    "2^16 entries": with_end(total=2**16 - 2, here=2**16 - 2),
    "a large zip without a locator": with_end(offset=2**32 - 1),
    "a large zip whose locator leads nowhere": ZIP[:-22]
    + struct.pack("<4sLQL", b"PK\6\7", 0, 2**63, 1)
    + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, 100, 2**32 - 1, 0),
    "an end without a directory": struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0),
    "two members of one name": artifacts.zipped({"params": b"a", "PARAMS": b"b"}).replace(b"PARAMS", b"params"),
    "no rows of a model of 200 GB": no_rows(10**8, 500),
    "no rows of a model of 500 TB": no_rows(2**31 - 1, 65536),
}

_CHILD = """
import json, pathlib, re, sys, time
sys.path.insert(0, sys.argv[2])
from fm_core.artifact.limits import Limits
from fm_core.artifact.model_file import load_model
from fm_core.errors import ArtifactError, ResourceError
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this file alone
    started = time.monotonic()
    try:
        load_model(path, Limits(memory=100 << 20, seconds=20))
        kind, text = "none", ""
    except (ArtifactError, ResourceError) as error:
        kind, text = type(error).__name__, str(error)
    peak = int(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) >> 10
    print(json.dumps([path.name, kind, text, time.monotonic() - started, peak]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in HOSTILE.items():
        (folder / name.replace("/", "_")).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder), str(ROOT)],
        capture_output=True, text=True, timeout=100, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_in_little_memory_and_time(outcomes, name):
    kind, text, seconds, peak = outcomes[name]
    assert kind in ("ArtifactError", "ResourceError")
    assert text.isprintable()
    assert len(text) < 500
    assert seconds < 10
    assert peak < 110, f"{peak} MB"


def test_memory_is_refused_before_it_is_taken(tmp_path):
    path = tmp_path / "model_algo-1"
    path.write_bytes(deflated_zeros(64))
    with pytest.raises(ResourceError, match=r"params takes 67108864 bytes of memory, .* at most 1000000 may be taken"):
        load_model(path, Limits(memory=10**6))


@pytest.mark.parametrize(
    "content", [zipped_zeros(header(64 << 20), 64 << 20, END), deflated_zeros(64), ZIP], ids=["tar", "zip", "model"]
)
def test_reading_is_given_up_in_time_and_when_the_process_has_to_stop(tmp_path, content):
    path = tmp_path / "model_algo-1"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="reading timed out after 0 s"):
        load_model(path, Limits(seconds=0))
    with pytest.raises(ArtifactError, match="because the process is stopping"):
        load_model(path, Limits(should_stop=lambda: True))


def test_a_named_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model_algo-1")
    with pytest.raises(ArtifactError, match="empty, or not a file"):
        load_model(tmp_path / "model_algo-1")


@pytest.mark.parametrize("name", ["model_algo-1", "./model_x", "a/" * 60 + "model_a", "ü/" * 90 + "model_ü"])
@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_every_length_and_layout_are_found(tmp_path, name, layout):
    file = io.BytesIO()
    try:
        with tarfile.open(fileobj=file, mode="w:gz", format=layout) as tar:
            for member, content in (("code/" + "y" * 60, b"pass"), ("empty", b""), (name, ZIP)):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            folder = tarfile.TarInfo("model_folder")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
    except ValueError:
        assert layout == tarfile.USTAR_FORMAT
        return
    path = tmp_path / "model.tar.gz"
    path.write_bytes(file.getvalue())
    assert load_model(path).feature_dim == 4


def test_padding_and_several_pieces_of_gzip_are_fine(tmp_path):
    tar = artifacts.tarred({"notes.txt": b"n" * 3000, "model_algo-1": ZIP}, "w")
    pieces = [gzip.compress(tar[start : start + 777]) + bytes(start % 3) for start in range(0, len(tar), 777)]
    path = tmp_path / "model.tar.gz"
    path.write_bytes(b"".join(pieces))
    assert load_model(path).feature_dim == 4


# --- the directory of a zip, beside Python's own reader --------------------------------------------


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\", exclude_categories=["Cs"]), min_size=1)


@given(
    st.dictionaries(NAMES, st.tuples(st.binary(max_size=300), st.booleans(), st.booleans()), max_size=5),
    st.binary(max_size=40), st.booleans(),
)  # fmt: skip
def test_any_zip_is_read_as_python_reads_it(members, comment, is_streamed):
    class Pipe(io.BytesIO):
        def seekable(self):
            return not is_streamed  # then sizes stand behind the bytes

    file = Pipe()
    with zipfile.ZipFile(file, "w") as archive:
        for name, (content, is_deflated, is_large) in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED if is_deflated else zipfile.ZIP_STORED
            with archive.open(info, "w", force_zip64=is_large) as member:
                member.write(content)
        archive.comment = comment.replace(b"PK", b"")
    found = Archive(file.getvalue())
    with zipfile.ZipFile(file) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            name: bytes(found.member(name).data) for name in archive.namelist()
        }
    for name in members:
        found.member(name).check_sum()


@given(st.data())
def test_a_changed_zip_is_read_or_refused(data):
    content = bytearray(
        data.draw(st.sampled_from([ZIP, artifacts.zipped({"meta.json": b"{}", "params": b"p" * 200}, 8)]))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    with contextlib.suppress(ArtifactError, ResourceError):
        archive = Archive(bytes(content[: cut or None]), Limits(memory=10**6))
        for name in ("meta.json", "params"):
            archive.member(name).check_sum()


def test_a_zip_of_more_than_4_gib_is_read(tmp_path):
    """The bytes are a hole of the file, so that it takes no room."""
    path, large = tmp_path / "model_algo-1", 5 << 30
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("meta.json"), b"{}")
        with archive.open(zipfile.ZipInfo("params"), "w", force_zip64=True):
            pass
    with path.open("r+b") as file:  # the same layout, by hand, around a hole
        begin = 30 + len("meta.json") + 2 + 30 + len("params") + 20
        extra = struct.pack("<HHQQ", 1, 16, large, large)
        local = struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 33, 0, 2**32 - 1, 2**32 - 1, 6, 20) + b"params" + extra
        file.seek(30 + len("meta.json") + 2)
        file.write(local)
        at = begin + large
        file.seek(at)
        entry = struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 0, 0, 33, 0, 2**32 - 1, 2**32 - 1, 6, 20, 0, 0, 0, 0,
            30 + len("meta.json") + 2,
        )  # fmt: skip
        directory = entry + b"params" + extra
        file.write(directory)
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), at))
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, at + len(directory), 1))
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), 2**32 - 1, 0))
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("params").file_size == large
    with opened(path) as archive:
        assert len(archive.member("params").data) == large
