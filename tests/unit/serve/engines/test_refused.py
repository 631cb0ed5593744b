"""A refused adapter is not tried at every question, but after growing pauses."""

import pytest

from serve.engines import refused
from serve.engines.endpoint import EngineDown
from serve.engines.refused import Refused
from variants.errors import EngineError


def test_pauses_grow_and_the_reason_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(refused.time, "monotonic", lambda: now)
    adapters = Refused()
    adapters.check("style")
    for pause_s in (5, 10, 20, 40, 80, 160, 300, 300):
        fault = adapters.note("style", EngineError("the engine refused adapter style: 400 rank 64"))
        assert (fault.why, str(fault)) == ("refused", "the engine refused adapter style: 400 rank 64")
        now += pause_s - 0.5
        with pytest.raises(EngineDown, match="400 rank 64"):
            adapters.check("style")
        adapters.check("other")
        now += 1
        adapters.check("style")
    adapters.forget("style")
    assert adapters.note("style", EngineError("again")).why == "refused"
    now += 5.5
    adapters.check("style")
    adapters.note("style", EngineError("again"))
    adapters.forget()
    adapters.check("style")
