"""The tasks of plug-ins in an ingress: imported once, before requests; a broken one leaves requests alone."""

import logging
from pathlib import Path

import pytest

from serve.dataplane.plugin_tasks import kinds_of_plugin_tasks
from tests.support.plugins import installed_in, write_plugin

TASK = """
from variants.tasks import Task
class It(Task):
    name, kind, labels, sources = "{name}", "{kind}", (), ()
    def _load(self, files):
        return {{}}
"""


def test_every_kind_is_known_and_an_unusable_task_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_plugin(tmp_path, "ours-good", "tasks", "good", TASK.format(name="good", kind="exact"), "It")
    write_plugin(tmp_path, "ours-broken", "tasks", "broken", "raise RuntimeError('no device')")
    write_plugin(tmp_path, "ours-odd", "tasks", "scored", TASK.format(name="scored", kind="odd"), "It")
    write_plugin(tmp_path, "ours-scorer", "scorers", "odd", "raise ImportError('no part')")
    with installed_in(tmp_path):
        assert kinds_of_plugin_tasks() == {"broken": None, "good": "exact", "scored": None}
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 2
    assert "ours-broken 1.0 cannot be imported: RuntimeError: no device" in told[0]
    assert "ours-scorer 1.0 cannot be imported: ImportError: no part" in told[1]
