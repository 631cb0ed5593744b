"""The command line as a user meets it: one clear line, the documented exit code, never a traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripted import make_artifact
from variants.catalog import Catalog


def understudy(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serve.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_help_names_every_command() -> None:
    done = understudy("--help")
    for command in ("doctor", "build", "evaluate", "catalog", "serve", "load", "report"):
        assert command in done.stdout


def test_doctor_is_json_where_asked() -> None:
    findings = json.loads(understudy("doctor", "--json").stdout)
    assert {"what", "ok", "needed", "detail", "mend"} == set(findings[0])
    assert all(finding["ok"] for finding in findings if finding["needed"])


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (("build", "none.yaml"), "there is no file none.yaml", 2),
        (("serve", "{typo}"), "models: Field required", 2),
        (("evaluate", "digit", "--stack", "{demo}"), "known are smollm2@baseline", 2),
        (("load", "--target", "http://127.0.0.1:9", "--out", "{out}"), "127.0.0.1:9", 5),
        (("report", "--out", "{out}"), "{out}", 2),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str, code: int) -> None:
    typo = tmp_path / "typo.yaml"
    typo.write_text("schema: 1")
    demo = Path(__file__).parents[3] / "deploy" / "stacks" / "demo.yaml"
    names = {"typo": str(typo), "out": str(tmp_path / "out"), "demo": str(demo)}
    done = understudy(*(part.format(**names) for part in arguments))
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert says.format(**names) in lines[-1]
    assert done.returncode == code


def test_the_catalog_lists_what_is_left_when_one_artifact_is_gone(tmp_path: Path) -> None:
    kept, gone = (make_artifact(tmp_path, "echo", name, "text-generation") for name in ("baseline", "int8"))
    for artifact in (kept, gone):
        Catalog(tmp_path).record(artifact.manifest)
    shutil.rmtree(gone.path)
    done = understudy("catalog", "--json", UNDERSTUDY_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = {row["variant"]: row for row in json.loads(done.stdout)}
    assert rows["baseline"]["artifact_bytes"] == kept.manifest.bytes
    assert rows["baseline"]["fault"] is None
    assert rows["int8"]["artifact_bytes"] is None
    assert "build it again" in rows["int8"]["fault"]
    assert "build it again" in understudy("catalog", UNDERSTUDY_HOME=str(tmp_path)).stdout
