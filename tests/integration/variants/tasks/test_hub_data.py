"""Data sets of the hub without the hub: what is in the cache is read, what is not is one clear sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

pytestmark = pytest.mark.integration
REVISION = "0123456789abcdef0123456789abcdef01234567"
READ = """
import json, sys
from pathlib import Path
from variants.errors import UnderstudyError
from variants.tasks import Tasks
from variants.tasks.task_file import TaskFile
task = Tasks({"own": TaskFile.model_validate(json.loads(sys.argv[1]))}).get("own", Path(sys.argv[2]))
try:
    splits = {split: len(task.examples(split)) for split in ("train", "calibration", "test")}
    print(json.dumps({"splits": splits, "labels": task.labels, "id": task.examples("test", 1)[0].id}))
except UnderstudyError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose hub cache holds one revision of org/tiny, laid out as huggingface_hub lays it out."""
    repository = tmp_path / "sources" / "hub" / "datasets--org--tiny"
    data = repository / "snapshots" / REVISION / "data"
    data.mkdir(parents=True)
    for split, count, first in (("train", 30, 0), ("validation", 10, 30), ("test", 20, 40)):
        rows = {"text": [f"text {first + n}" for n in range(count)], "label": [n % 2 for n in range(count)]}
        parquet.write_table(pyarrow.table(rows), data / f"{split}-00000-of-00001.parquet")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    return tmp_path


def read(home: Path, uri: str, **fields: Any) -> dict[str, Any]:
    definition = {"data": {"uri": uri}, "input": "{{ text }}", "label": "label", "scorer": "label", **fields}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", READ, json.dumps(definition), str(home)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_its_own_splits_and_shares(home: Path) -> None:
    own = read(home, "hf:datasets/org/tiny@main", splits={"column": "split"}, labels={"0": "bad", "1": "good"})
    assert own["splits"] == {"train": 30, "calibration": 10, "test": 20}
    assert own["labels"] == ["bad", "good"]
    assert own["id"].startswith("own-hf:datasets/org/tiny@main, row ")
    assert read(home, "hf:datasets/org/tiny")["splits"] == {"train": 42, "calibration": 6, "test": 12}


def test_what_is_not_there_is_one_sentence(home: Path) -> None:
    answer = read(home, "hf:datasets/org/other")
    assert answer["error"] == "SourceError"
    assert "hf:datasets/org/other could not be fetched from the hub" in answer["text"]
    assert "\n" not in answer["text"]
    for path in (home / "sources" / "hub" / "datasets--org--tiny").rglob("*.parquet"):
        path.unlink()
    assert "has no file that is read" in read(home, "hf:datasets/org/tiny")["text"]


def test_another_configuration(home: Path) -> None:
    answer = read(home, "", data={"uri": "hf:datasets/org/tiny", "config": "gone"})
    assert answer["error"] == "InputError"
    assert "gone" in answer["text"]
