"""Finding a model file, and the members of its zip."""

import gzip
import os
import zipfile

import pytest

from fm_core.artifact.archive import opened
from fm_core.errors import ArtifactError
from tests import artifacts

MEMBERS = {"meta.json": b'{"version": 1}', "params": bytes(range(256)) * 40}
ZIP = artifacts.zipped(MEMBERS)


def read(path, name="params"):
    with opened(path) as archive:
        member = archive.member(name)
        member.check_sum()
        return bytes(member.data)


def refusal(path):
    with pytest.raises(ArtifactError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def place(tmp_path):
    """Put a file into a folder and give its path."""

    def place(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return place


@pytest.mark.parametrize(
    "content",
    [
        ZIP,
        artifacts.zipped(MEMBERS, zipfile.ZIP_DEFLATED),
        artifacts.tarred({"model_algo-1": ZIP}),
        artifacts.tarred({"model_algo-1": ZIP}, "w"),
        artifacts.tarred({"./code/x.py": b"pass", "./model_algo-1": ZIP}),
    ],
    ids=["stored", "deflated", "tar.gz", "tar", "tar.gz with more in it"],
)
def test_a_member_is_read_in_every_packing(place, content):
    path = place("model_algo-1", content)
    assert read(path) == MEMBERS["params"]
    assert read(path, "meta.json") == MEMBERS["meta.json"]


def test_a_stored_member_is_a_view_of_the_mapped_file(place):
    with opened(place("model_algo-1", ZIP)) as archive:
        first, second = archive.member("params").data, archive.member("params").data
    assert first.obj is second.obj
    assert first.readonly


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["model_algo-1", "readme.txt"], "model_algo-1"),
        (["model_algo-7"], "model_algo-7"),
        (["model_algo-1", "model_algo-2"], "model_algo-1"),
        (["model_algo-1", ".model_algo-1.tmp"], "model_algo-1"),
    ],
)
def test_the_model_of_a_folder_is_found(place, tmp_path, names, found):
    for name in names:
        place(name, ZIP if name == found else b"something else")
    assert read(tmp_path) == MEMBERS["params"]


def test_a_folder_with_the_model_still_packed_will_do(place, tmp_path):
    place("model.tar.gz", artifacts.tarred({"model_algo-1": ZIP}))
    assert read(tmp_path) == MEMBERS["params"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "the folder holds no file, expected one model file such as model_algo-1"),
        (["weights.bin"], "the folder holds weights.bin, expected"),
        ([".model_algo-1.tmp"], "the folder holds .model_algo-1.tmp, expected"),
        (["model_a", "model_b"], "the folder holds model_a, model_b, expected one model file"),
    ],
)
def test_a_folder_without_one_model_is_refused(place, tmp_path, names, message):
    for name in names:
        place(name, ZIP)
    assert message in refusal(tmp_path)


def test_a_path_that_leads_nowhere_is_named(tmp_path):
    assert "No such file or directory" in refusal(tmp_path / "model_algo-1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty, or not a file"),
        (b"\x80\x04\x95 a pickle", "not a model file: it starts with b'\\x80\\x04\\x95 a pi'"),
        (b"PK", "not a model file, or a damaged one"),
        (ZIP[:-30], "not a model file, or a damaged one"),
        (gzip.compress(b"no tar"), "not a model file, or a damaged one"),
        (artifacts.tarred({"model_algo-1": ZIP})[:-60], "not a model file, or a damaged one"),
        (artifacts.tarred({"weights.bin": ZIP}), "it holds no model file, expected one such as model_algo-1"),
        (artifacts.tarred({"model_algo-1": b""}), "declares 0 bytes"),
        (artifacts.zipped({"weights.npy": b"1"}), "it holds weights.npy, but no params"),
        (artifacts.zipped({"params": b"1" * 99}, zipfile.ZIP_BZIP2), "params is compressed by method 12"),
    ],
)
def test_a_foreign_or_damaged_file_is_said_to_be_that(place, content, message):
    assert message in refusal(place("model_algo-1", content))


def with_size_of_params(content, size):
    """The zip with another size in its directory, packed and unpacked."""
    at = content.rindex(b"PK\x01\x02")
    assert content[at + 46 : at + 52] == b"params"
    return content[: at + 20] + size.to_bytes(4, "little") * 2 + content[at + 28 :]


@pytest.mark.parametrize("size", [len(ZIP), 2**32 - 2])
def test_a_member_that_declares_more_than_the_file_holds_is_refused(place, size):
    message = refusal(place("model_algo-1", with_size_of_params(ZIP, size)))
    assert f"params declares {size} bytes from byte " in message
    assert message.endswith("are there: the file is truncated")


def test_a_deflated_member_that_declares_more_than_deflate_can_give_is_refused(place):
    content = artifacts.zipped(MEMBERS, zipfile.ZIP_DEFLATED)
    at = content.rindex(b"PK\x01\x02")
    content = content[: at + 24] + (2**31).to_bytes(4, "little") + content[at + 28 :]
    assert "compressed bytes can hold" in refusal(place("model_algo-1", content))


def test_a_deflated_member_whose_stream_is_damaged_is_refused(place):
    content = bytearray(artifacts.zipped(MEMBERS, zipfile.ZIP_DEFLATED))
    at = content.index(b"params") + len(b"params")
    content[at] |= 0b110  # a kind of block that deflate does not have
    assert "not a model file, or a damaged one: Error -3 while decompressing" in refusal(
        place("model_algo-1", bytes(content))
    )


def test_a_tar_that_declares_more_than_gzip_can_give_is_refused(place):
    tar = bytearray(gzip.decompress(artifacts.tarred({"model_algo-1": ZIP})))
    tar[124:136] = b"%011o\0" % (1 << 32)
    tar[148:156] = b"%06o\0 " % (sum(tar[:148]) + 8 * 32 + sum(tar[156:512]))
    assert "declares 4294967296 bytes, more than the file can hold" in refusal(
        place("model_algo-1", gzip.compress(bytes(tar)))
    )


def test_an_encrypted_member_is_refused(place):
    at = ZIP.rindex(b"PK\x01\x02")
    assert "encrypted" in refusal(place("model_algo-1", ZIP[: at + 8] + b"\x01" + ZIP[at + 9 :]))


def test_names_found_in_a_file_are_not_paths(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outside = {"../escaped": b"x", "/tmp_escaped": b"x"}
    path = place(
        "in/model.tar.gz", artifacts.tarred({**outside, "../../model_algo-1": artifacts.zipped(outside | MEMBERS)})
    )
    before = {name for _, _, names in os.walk(tmp_path) for name in names}
    assert read(path) == MEMBERS["params"]
    assert {name for _, _, names in os.walk(tmp_path) for name in names} == before
