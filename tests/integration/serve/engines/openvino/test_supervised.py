"""OpenVINO's engine under a supervisor: one that hangs or answers NaN is taken out, and comes back by itself."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import torch

from serve.config.stack import OpenVinoEngine
from serve.engines.endpoint import EngineDown
from serve.engines.launch import launch
from serve.engines.probe import Probe, probe_of
from serve.engines.process import EngineProcess
from serve.engines.supervisor import Supervisor
from tests.integration.serve.engines.engine import write_manifest
from tests.integration.serve.engines.supervised import QUICK, begun, until
from variants.artifacts.store import open_artifact

pytestmark = pytest.mark.integration
SIZE, LIMIT_S = 16, 120
PREPROCESS = {"size": [SIZE, SIZE], "mean": [0.0] * 3, "std": [255.0] * 3}


class Colours(torch.nn.Module):
    """Logits are each channel's mean, divided by `by`."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.mean(dim=(2, 3)) - pixels.mean(dim=(2, 3))) / self.by


@asynccontextmanager
async def supervised(home: Path, by: float) -> AsyncIterator[Supervisor]:
    import openvino

    folder = home / "artifacts" / "00" / "colours"
    model = openvino.convert_model(Colours(by), example_input=torch.zeros(1, 3, SIZE, SIZE))
    model.reshape([-1, 3, SIZE, SIZE])
    openvino.save_model(model, folder / "model" / "model.xml", compress_to_fp16=False)
    labels = ("red", "green", "blue")
    write_manifest(folder, task="image-classification", format="openvino", labels=labels, preprocess=PREPROCESS)
    manifest = open_artifact(folder).manifest
    how = launch(OpenVinoEngine(kind="openvino"), folder, manifest, "colours@baseline")
    probe = probe_of(manifest, "colours@baseline")
    probe = Probe(probe.path, probe.body, probe.fault_of, limit_s=5)
    engine = EngineProcess("colours@baseline", how, home / "engine.log")
    supervisor = Supervisor(engine, probe, lambda: open_artifact(folder), times=QUICK)
    async with begun(supervisor):
        yield supervisor


async def test_an_engine_that_answers_nan_never_serves(tmp_path: Path) -> None:
    async with supervised(tmp_path, by=0.0) as supervisor:
        with pytest.raises(EngineDown, match="a score is not finite") as raised:
            supervisor.check()
        assert raised.value.why == "wrong"


async def test_an_engine_that_hangs_for_a_while_is_avoided_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(tmp_path, by=1.0) as supervisor:
        supervisor.check()
        monkeypatch.setattr("serve.engines.process.HEALTH_LIMIT_S", 2.0)
        pid, process = supervisor.engine.pid, supervisor.engine.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        await until(lambda: supervisor.unwell is not None, LIMIT_S)
        with pytest.raises(EngineDown):
            supervisor.check()
        process.send_signal(signal.SIGCONT)
        await until(lambda: supervisor.unwell is None and supervisor.fault is None, LIMIT_S)
        await supervisor.ask()
        assert supervisor.engine.pid == pid


async def test_an_engine_that_does_not_answer_a_test_request_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(tmp_path, by=1.0) as supervisor:
        monkeypatch.setattr("serve.engines.process.STOP_LIMIT_S", 1.0)
        first = supervisor.engine.process
        assert first is not None
        first.send_signal(signal.SIGSTOP)
        with pytest.raises(EngineDown) as raised:
            await supervisor.ask()
        assert raised.value.why == "hung"
        await until(lambda: first.returncode is not None and supervisor.fault is None, LIMIT_S)
        await supervisor.ask()
