"""An engine holds its artifact as long as its process lives, and not a moment longer."""

import signal
from pathlib import Path

import pytest

from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from tests.support.scripted import make_artifact, make_stack
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.garbage import Collected, collect
from variants.errors import IntegrityError

pytestmark = pytest.mark.integration


def engine_on(artifact: Artifact, home: Path) -> EngineProcess:
    engine = make_stack().models["echo"].variants["int8"].engine
    how = launch(engine, artifact.path, artifact.manifest, "echo@int8")
    return EngineProcess("echo@int8", how, home / "engine.log")


def garbage(home: Path) -> Collected:
    return collect(Store(home), Catalog(home))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_what_is_served_is_not_collected_until_its_engine_ends(tmp_path: Path, end: signal.Signals) -> None:
    artifact = make_artifact(tmp_path, "echo", "int8", "text-generation")
    engine = engine_on(artifact, tmp_path)
    await engine.start()
    try:
        done = garbage(tmp_path)
        assert [item.key for item in done.in_use] == [artifact.manifest.key]
        assert done.removed == ()
        await engine.check_answers()
        assert engine.process is not None
        engine.process.send_signal(end)
        await engine.process.wait()
        assert [item.key for item in garbage(tmp_path).removed] == [artifact.manifest.key]
        assert not artifact.path.exists()
    finally:
        await engine.stop()


async def test_an_engine_whose_artifact_is_gone_is_not_started(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "echo", "int8", "text-generation")
    engine = engine_on(artifact, tmp_path)
    garbage(tmp_path)
    with pytest.raises(IntegrityError, match="it is not an artifact"):
        await engine.start()
    assert engine.process is None
