"""What a running server cannot change is refused by its name."""

from pathlib import Path
from typing import Any

import pytest

from serve.config.snapshot import build_snapshot
from serve.control.proposal import Proposal, version_of
from tests.support.scripted import echo_stack, make_artifacts
from variants.errors import StackError


@pytest.mark.parametrize("settings", [{"body_limit_mib": 16}, {"memory_in_flight_mib": 512}])
def test_what_an_ingress_reads_at_its_start_only_changes_at_a_restart(tmp_path: Path, settings: dict[str, Any]) -> None:
    stack = echo_stack()
    snapshot = build_snapshot(stack, make_artifacts(tmp_path, stack))
    changed = stack.model_copy(update={"server": stack.server.model_copy(update=settings)})
    (name,) = settings
    with pytest.raises(StackError, match="only changes at a restart") as refused:
        version_of(Proposal(changed, {}, dry_run=True, force=False), snapshot)
    assert refused.value.field == f"server.{name}"
