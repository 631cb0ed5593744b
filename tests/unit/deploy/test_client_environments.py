"""The environments of `make clients`: each client has a lock, and what is made already stays."""

import re
from pathlib import Path

import pytest

from deploy.client_environments import CLIENTS, REQUIREMENTS, make
from loadtest.benchmarks.clients.__main__ import CLIENTS as RUN


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_each_client_has_a_lock_of_versions_only(name: str) -> None:
    lines = (CLIENTS / f"{name}.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9_.-]+==[\w.+!]+", line)] == []
    pinned = {line.partition("==")[0] for line in lines}
    wanted = {re.split(r"[\[=]", requirement)[0] for requirement in REQUIREMENTS[name]}
    assert wanted <= pinned


def test_every_client_that_is_run_gets_an_environment() -> None:
    assert {client.package for client in RUN} == set(REQUIREMENTS)


def test_an_environment_is_made_once_and_again_for_another_lock(tmp_path: Path) -> None:
    lock, folder = tmp_path / "some.txt", tmp_path / "env"
    lock.write_text("# no package\n")
    assert make("some", folder, tmp_path)
    (folder / "kept").touch()
    assert not make("some", folder, tmp_path)
    assert (folder / "kept").exists()
    lock.write_text("# another one\n")
    assert make("some", folder, tmp_path)
    assert (folder / "bin" / "python").exists()
    assert not (folder / "kept").exists()
