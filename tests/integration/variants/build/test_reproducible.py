"""Which recipes give the same bytes when they are carried out twice, with the same seed, on one machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.variants.build.rebuild import ROWS
from variants.artifacts.catalog import Catalog
from variants.artifacts.manifest import Manifest, TaskKind
from variants.artifacts.store import Store

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def twice(tiny_llama: Path, tiny_vit: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two homes in which all has been built, each by a process of its own."""
    homes = [tmp_path_factory.mktemp("once"), tmp_path_factory.mktemp("again")]
    for home in homes:
        command = [
            sys.executable,
            "-m",
            "tests.integration.variants.build.rebuild",
            str(home),
            str(tiny_llama),
            str(tiny_vit),
        ]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    return homes


def manifest(home: Path, task: TaskKind, variant: str) -> Manifest:
    return Store(home).open(Catalog(home).model(task).current(variant).key).manifest


@pytest.mark.parametrize(("task", "variant"), ROWS)
def test_what_is_built_twice_is_the_same_where_it_is_said_to_be(
    twice: list[Path], task: TaskKind, variant: str
) -> None:
    once, again = (manifest(home, task, variant) for home in twice)
    assert once.files.keys() == again.files.keys()
    differing = {name for name in once.files if once.files[name].sha256 != again.files[name].sha256}
    assert {name.removeprefix("model/") for name in differing} == set(ROWS[task, variant].differing)
    assert (once.digest == again.digest) is (not differing)
