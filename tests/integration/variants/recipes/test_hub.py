"""Hub ids without the hub: what is in the cache is found through huggingface_hub itself, what is not is one clear
error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
REVISION = "0123456789abcdef0123456789abcdef01234567"
FETCH = """
import json, sys
from pathlib import Path
from variants.errors import UnderstudyError
from variants.recipes.source import Source, content_sha256, fetch
source, home = Source(**json.loads(sys.argv[1])), Path(sys.argv[2])
try:
    print(json.dumps({"path": str(fetch(source, home)), "sha256": content_sha256(source, home)}))
except UnderstudyError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose hub cache holds one revision of org/tiny, laid out as huggingface_hub lays it out."""
    repository = tmp_path / "sources" / "hub" / "models--org--tiny"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"weights")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    return tmp_path


def fetched(home: Path, **source: str) -> dict[str, str]:
    arguments = json.dumps({"licence": "MIT", **source})
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", FETCH, arguments, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("uri", ["org/tiny", "hf:org/tiny", "hf:org/tiny@main", f"hf:org/tiny@{REVISION}"])
def test_a_cached_snapshot_is_found_and_can_be_pinned(home: Path, uri: str) -> None:
    first = fetched(home, uri=uri)
    assert (Path(first["path"]) / "model.safetensors").read_bytes() == b"weights"
    assert fetched(home, uri=uri, sha256=first["sha256"]) == first
    wrong = fetched(home, uri=uri, sha256="0" * 64)
    assert wrong["error"] == "IntegrityError"
    assert first["sha256"] in wrong["text"]


def test_what_cannot_be_fetched_is_one_line_with_a_mend(home: Path) -> None:
    answer = fetched(home, uri="org/other")
    assert answer["error"] == "SourceError"
    assert answer["text"].startswith("source.uri: org/other could not be fetched from the hub")
    assert "\n" not in answer["text"]
