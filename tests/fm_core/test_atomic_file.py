"""A file that appears whole or not at all."""

import os
from pathlib import Path

import pytest

from fm_core.atomic_file import MODE, atomic_files, atomic_write, check_writable, temporary_path


def names(folder):
    return [entry.name for entry in folder.iterdir()]


def test_the_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_files_of_a_folder_appear_together_and_others_stay(tmp_path):
    folder = tmp_path / "new" / "folder"
    for text in (b"1", b"2"):
        with atomic_files(folder) as begun:
            for name in ("a", "b"):
                (begun / name).write_bytes(text)
                assert not (folder / name).exists() or (folder / name).read_bytes() == b"1"
        (folder / "other").touch()
        assert (folder / "a").read_bytes() == (folder / "b").read_bytes() == text
    assert sorted(names(folder)) == ["a", "b", "other"]
    assert names(tmp_path / "new") == ["folder"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_of_files_that_are_not_all_written_none_appears(tmp_path, error):
    def fail(folder):
        with atomic_files(folder) as begun:
            (begun / "a").write_bytes(b"new")
            raise error

    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_bytes(b"old")
    for folder in (tmp_path / "old", tmp_path / "fresh"):
        with pytest.raises(error):
            fail(folder)
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old" / "a").read_bytes() == b"old"


def test_a_failure_while_it_is_put_on_disk_leaves_nothing(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError("the disk is gone")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is gone"), atomic_write(tmp_path / "file") as file:
        file.write(b"new")
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_gone_after_the_next_save(tmp_path):
    path = tmp_path / "model_algo-1"
    if (pid := os.fork()) == 0:
        with atomic_write(path) as file:
            file.write(b"half")
            file.flush()
            os._exit(0)
    os.waitpid(pid, 0)
    assert names(tmp_path) == [temporary_path(path).name]
    with atomic_write(path) as file:
        file.write(b"new")
    assert names(tmp_path) == ["model_algo-1"]


def test_the_temporary_name_is_not_a_models(tmp_path):
    assert not temporary_path(tmp_path / "model_algo-1").name.startswith("model_")


def test_the_file_and_its_folder_are_on_disk_in_this_order(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    with atomic_write(tmp_path / "file") as file:
        file.write(b"new")
    assert synced == [temporary_path(tmp_path / "file"), tmp_path]


def test_large_pieces_set_out_for_the_disk_when_they_are_written(tmp_path, monkeypatch):
    begun = []

    def begin(descriptor, start, count, advice):
        begun.append((start, count))
        return advise(descriptor, start, count, advice)

    advise = os.posix_fadvise
    monkeypatch.setattr(os, "posix_fadvise", begin)
    large, small = os.urandom(1 << 20), b"small"
    with atomic_write(tmp_path / "file") as file:
        for piece in (small, large, small, large, large):
            file.write(piece)
        file.seek(2)
        file.write(b"again")
    expected = bytearray(small + large + small + large + large)
    expected[2:7] = b"again"
    assert (tmp_path / "file").read_bytes() == expected
    n, m = len(small), len(large)
    assert begun == [(n, m), (n + m + n, m), (n + m + n + m, m)]


def test_a_file_system_that_takes_no_advice_is_no_hindrance(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("no advice is taken here")

    monkeypatch.setattr(os, "posix_fadvise", fail)
    with atomic_write(tmp_path / "file") as file:
        file.write(bytes(1 << 20))
    assert (tmp_path / "file").read_bytes() == bytes(1 << 20)


@pytest.mark.parametrize("make_link", [os.symlink, os.link])
@pytest.mark.parametrize("suffix", [".tmp", ".other"])
def test_a_planted_link_leads_to_no_other_file(tmp_path, make_link, suffix):
    victim, path = tmp_path / "victim", tmp_path / "out.rec"
    victim.write_bytes(b"theirs")
    make_link(victim, temporary_path(path, suffix))
    with atomic_write(path, suffix) as file:
        file.write(b"ours")
    assert victim.read_bytes() == b"theirs"
    assert path.read_bytes() == b"ours"
    assert not path.is_symlink()
    assert sorted(names(tmp_path)) == ["out.rec", "victim"]


def test_a_planted_link_to_nothing_makes_nothing_there(tmp_path):
    temporary_path(tmp_path / "out.rec").symlink_to(tmp_path / "elsewhere")
    with atomic_write(tmp_path / "out.rec") as file:
        file.write(b"ours")
    assert names(tmp_path) == ["out.rec"]


def test_a_link_at_the_name_itself_is_replaced_and_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "out.rec"
    victim.write_bytes(b"theirs")
    path.symlink_to(victim)
    with atomic_write(path) as file:
        file.write(b"ours")
    assert victim.read_bytes() == b"theirs"
    assert path.read_bytes() == b"ours"


def test_what_comes_again_whenever_it_is_removed_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "out.rec"
    temporary_path(path).symlink_to("victim")
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    with pytest.raises(FileExistsError, match="reappears"), atomic_write(path):
        pass


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0, MODE), (0o077, 0o600)])
def test_the_mode_of_a_written_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "file") as file:
            file.write(b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o7777 == mode


def test_looking_whether_a_folder_can_be_written_to_follows_no_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    (tmp_path / "probe").symlink_to(victim)
    check_writable(tmp_path / "probe")
    assert victim.read_bytes() == b"theirs"
    assert names(tmp_path) == ["victim"]
    with pytest.raises(OSError, match="absent"):
        check_writable(tmp_path / "absent/probe")
