"""Data and cache where the platform says, one folder where the user says, and a former store stays in use."""

from pathlib import Path

import pytest

from variants.home import home, sources_of


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without settings of their own."""
    for name in ("UNDERSTUDY_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_artifacts_are_data_and_sources_are_cache(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home() == user / ".local" / "share" / "understudy"
    assert sources_of(home()) == user / ".cache" / "understudy" / "sources"
    monkeypatch.setenv("XDG_DATA_HOME", str(user / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(user / "cache"))
    assert (home(), sources_of(home())) == (user / "data" / "understudy", user / "cache" / "understudy" / "sources")


def test_understudy_home_keeps_everything_in_one_folder(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for own in (user / "own", user / ".local" / "share" / "understudy"):
        monkeypatch.setenv("UNDERSTUDY_HOME", str(own))
        assert (home(), sources_of(home())) == (own, own / "sources")


@pytest.mark.parametrize("folder", ["artifacts", "catalog", "state"])
def test_a_store_in_the_former_folder_stays_in_use(user: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    former = user / ".cache" / "understudy"
    (former / folder).mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(user / "cache"))
    assert (home(), sources_of(home())) == (former, former / "sources")


def test_sources_alone_are_no_store(user: Path) -> None:
    (user / ".cache" / "understudy" / "sources").mkdir(parents=True)
    assert home() == user / ".local" / "share" / "understudy"


def test_a_store_elsewhere_has_its_sources_beside_it(tmp_path: Path) -> None:
    assert sources_of(tmp_path / "other") == tmp_path / "other" / "sources"
