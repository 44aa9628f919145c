import errno
import hashlib
import os

import pytest

from deception_saes.store.files import artifacts_root, checkout, sha256_file, write_atomic


def test_what_is_written_can_be_read(tmp_path):
    path = tmp_path / "new" / "folder" / "file.json"
    write_atomic(path, "Δ\n")
    assert path.read_bytes() == "Δ\n".encode()


def test_a_write_replaces_the_whole_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"a long old text")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_everyone_may_read_what_is_written(tmp_path):
    write_atomic(tmp_path / "file", "x")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_text_that_cannot_be_encoded_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \ud800")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomic(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"\0\xff" * 100_000)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(b"\0\xff" * 100_000).hexdigest()


def test_artifacts_go_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("DECEPTION_SAES_ARTIFACTS", str(tmp_path))
    assert artifacts_root() == tmp_path.resolve()


def test_artifacts_go_into_the_checkout_by_default(monkeypatch):
    monkeypatch.delenv("DECEPTION_SAES_ARTIFACTS", raising=False)
    assert artifacts_root() == checkout() / "artifacts"
    assert (checkout() / "_config.yml").is_file()
