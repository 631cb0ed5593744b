"""What a question to an engine carries of a trace."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from serve import traces


def test_an_engine_hears_of_no_trace_while_nothing_is_traced() -> None:
    with traces.span("engine"):
        assert traces.carried() == {}


@pytest.mark.parametrize(("sampler", "is_traced"), [(ALWAYS_ON, 1), (ALWAYS_OFF, 0)])
def test_an_engine_hears_whether_to_trace_and_names_each_question_by_its_span(
    monkeypatch: pytest.MonkeyPatch, sampler: Sampler, is_traced: int
) -> None:
    monkeypatch.setattr(traces, "provider", TracerProvider(sampler))
    ids = set()
    for _ in range(2):
        with traces.span("engine"):
            carried = traces.carried()
        _, _, span, flags = carried["traceparent"].split("-")
        assert int(flags, 16) & 1 == is_traced
        assert carried["x-request-id"] == span
        ids.add(span)
    assert len(ids) == 2
