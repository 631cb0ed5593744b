"""What a folder's hash covers."""

from pathlib import Path

import pytest

from variants.errors import SourceError
from variants.files import hash_folder


def test_a_link_to_a_file_is_hashed_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"weights")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.bin").symlink_to(tmp_path / "blob")
    before = hash_folder(folder)
    (tmp_path / "blob").write_bytes(b"others")
    assert list(before) == ["a.bin"]
    assert hash_folder(folder) != before


def test_a_link_to_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights.bin").write_bytes(b"weights")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / ".cache").symlink_to(tmp_path / "base")
    assert hash_folder(folder) == {}
    (folder / "unet").symlink_to(tmp_path / "base")
    with pytest.raises(SourceError, match="unet is a link to a folder"):
        hash_folder(folder)
