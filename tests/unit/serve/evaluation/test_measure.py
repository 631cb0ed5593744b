"""Where the logs of an evaluation go."""

from pathlib import Path

import pytest

from serve.evaluation.measure import harness_log


def test_each_harness_task_has_a_log_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    specs = ("arc_easy", "piqa", "./mine/piqa", "./mine-piqa", "/" + "deep/" * 100 + "task.yaml")
    logs = {harness_log("tiny@int8", spec) for spec in specs}
    assert len(logs) == len(specs)
    for log in logs:
        assert log.parent == tmp_path / "logs"
        log.parent.mkdir(exist_ok=True)
        log.write_text("a file may have this name")
    assert harness_log("tiny@int8", "piqa").name == "tiny@int8-lm_eval-piqa.log"
