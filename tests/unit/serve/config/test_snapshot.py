"""The engine of every variant, and the differences of two snapshots."""

from pathlib import Path
from typing import Any

import pytest

from serve.config.server.traces import Traces
from serve.config.snapshot import Snapshot, build_snapshot
from serve.control.diff import differences
from tests.support.scripted import make_adapter, make_artifact, make_artifacts, make_stack, with_variants
from variants.errors import StackError

ADAPTERS = {"kind": "scripted", "adapters": {"slots": 2}}


def lived(home: Path, **variants: dict[str, Any]) -> Snapshot:
    """A snapshot of `echo` with the given variants. Those named `lora...` are adapters of its baseline."""
    stack = with_variants(make_stack(), "echo", variants)
    artifacts = make_artifacts(home, stack)
    for name in variants:
        if name.startswith("lora"):
            artifacts["echo", name] = make_adapter(home, "echo", name, artifacts["echo", "baseline"])
    return build_snapshot(stack, artifacts)


def test_adapters_of_one_parent_share_an_engine_that_is_not_the_parents(tmp_path: Path) -> None:
    lora: dict[str, Any] = {"parent": "baseline", "engine": ADAPTERS}
    snapshot = lived(tmp_path, baseline={"weight": 1}, lora=lora, lora2=lora)
    one, two, own = (snapshot.variants["echo", name] for name in ("lora", "lora2", "baseline"))
    assert one.engine == two.engine
    assert one.engine.artifact == own.engine.artifact
    assert one.engine.application != own.engine.application
    assert {one.asked_as, two.asked_as, own.asked_as} == {
        f"echo@lora:{one.manifest.digest[:8]}", f"echo@lora2:{two.manifest.digest[:8]}", "echo@baseline"
    }  # fmt: skip
    assert len([engine for engine in snapshot.engines if engine.startswith("echo.")]) == 2


def test_a_parent_with_the_adapters_settings_shares_their_engine(tmp_path: Path) -> None:
    snapshot = lived(
        tmp_path, baseline={"weight": 1, "engine": ADAPTERS}, lora={"parent": "baseline", "engine": ADAPTERS}
    )
    assert snapshot.variants["echo", "baseline"].engine == snapshot.variants["echo", "lora"].engine


def test_an_engine_stays_the_same_wherever_spans_are_sent(tmp_path: Path) -> None:
    stack = make_stack()
    artifacts = make_artifacts(tmp_path, stack)
    server = stack.server.model_copy(update={"traces": Traces(endpoint="http://127.0.0.1:4318")})
    plain = build_snapshot(stack, artifacts).engines
    traced = build_snapshot(stack.model_copy(update={"server": server}), artifacts).engines
    assert plain == traced
    assert {engine.traces for engine in plain.values()} == {""}
    assert {engine.traces for engine in traced.values()} == {"http://127.0.0.1:4318"}


def test_an_adapter_needs_an_engine_with_slots(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="needs an engine with adapter slots") as refused:
        lived(tmp_path, baseline={"weight": 1}, lora={"parent": "baseline"})
    assert refused.value.field == "models.echo.variants.lora.engine"


def test_an_adapter_of_another_base_is_refused_by_name_and_digest(tmp_path: Path) -> None:
    stack = with_variants(
        make_stack(), "echo", {"baseline": {"weight": 1}, "lora": {"parent": "baseline", "engine": ADAPTERS}}
    )
    artifacts = make_artifacts(tmp_path, stack)
    other = make_artifact(tmp_path, "echo", "other", "text-generation")
    artifacts["echo", "lora"] = make_adapter(tmp_path, "echo", "lora", other)
    with pytest.raises(StackError) as refused:
        build_snapshot(stack, artifacts)
    said = str(refused.value)
    assert other.manifest.digest[:8] in said
    assert artifacts["echo", "baseline"].manifest.digest[:8] in said
    assert "models.echo.variants.lora" in said


def test_versions_differ_in_builds_engines_and_weights(tmp_path: Path) -> None:
    before = lived(tmp_path, baseline={"weight": 90}, int8={"weight": 10}, nf4={})
    slower = {"kind": "scripted", "token_s": 0.001}
    after = lived(tmp_path, baseline={"weight": 50}, int8={"weight": 50, "engine": slower}, int4={})
    changes = {each["name"]: each for each in differences(before, after)}
    assert {name: each["kind"] for name, each in changes.items() if not name.startswith("near")} == {
        "echo@baseline": "change",
        "echo@int8": "replace",
        "echo@int4": "add",
        "echo@nf4": "remove",
        "bands@baseline": "keep",
    }
    assert (changes["echo@int8"]["share_before"], changes["echo@int8"]["share_after"]) == (0.1, 0.5)
    assert changes["echo@nf4"]["build_after"] is None
