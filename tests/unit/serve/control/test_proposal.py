"""What a running server cannot change is refused by its name."""

from pathlib import Path
from typing import Any

import pytest

from serve.config.resources import LogicalGpus
from serve.config.snapshot import Snapshot, build_snapshot
from serve.control.proposal import Proposal, check_engines, version_of
from serve.errors import Conflict
from tests.support.scripted import echo_stack, make_artifacts, with_variants
from variants.errors import StackError
from variants.machine import Gpu


@pytest.mark.parametrize(
    "settings",
    [
        {"body_limit_mib": 16},
        {"memory_in_flight_mib": 512},
        {"logical_gpus": LogicalGpus(count=1, memory_mib=1)},
    ],
)
def test_what_an_ingress_reads_at_its_start_only_changes_at_a_restart(tmp_path: Path, settings: dict[str, Any]) -> None:
    stack = echo_stack()
    snapshot = build_snapshot(stack, make_artifacts(tmp_path, stack))
    changed = stack.model_copy(update={"server": stack.server.model_copy(update=settings)})
    (name,) = settings
    with pytest.raises(StackError, match="only changes at a restart") as refused:
        version_of(Proposal(changed, {}, dry_run=True, force=False), snapshot)
    assert refused.value.field == f"server.{name}"


def test_old_and_new_engines_fit_side_by_side(tmp_path: Path) -> None:
    here = (Gpu("logical GPU", None, 2**34, 2**34),)

    def snapshot(**shares: float) -> Snapshot:
        variants = {
            name: {"weight": 1, "engine": {"kind": "scripted", "resources": {"gpus": share}}}
            for name, share in shares.items()
        }
        stack = with_variants(echo_stack(), "echo", variants)
        return build_snapshot(stack, make_artifacts(tmp_path, stack))

    check_engines(snapshot(baseline=0.5), snapshot(baseline=0.5, int8=0.5), here)
    with pytest.raises(StackError, match=r"0\.5 \(echo@baseline\) \+ 0\.6 \(echo@int8\) is 1\.1 of 1 GPU"):
        check_engines(snapshot(baseline=0.5), snapshot(baseline=0.5, int8=0.6), here)
    with pytest.raises(Conflict, match=r"old and new engines run side by side.*0\.6 \(echo@int8\) is 1\.1 of 1 GPU"):
        check_engines(snapshot(baseline=0.5), snapshot(int8=0.6), here)


def test_the_console_is_turned_off_while_the_server_runs(tmp_path: Path) -> None:
    stack = echo_stack()
    artifacts = make_artifacts(tmp_path, stack)
    snapshot = build_snapshot(stack, artifacts)
    keys = {f"{model}@{variant}": artifact.manifest.key for (model, variant), artifact in artifacts.items()}
    changed = stack.model_copy(update={"server": stack.server.model_copy(update={"console": False})})
    wanted = version_of(Proposal(changed, keys, dry_run=True, force=False), snapshot)
    assert (snapshot.stack.server.console, wanted.stack.server.console) == (True, False)
