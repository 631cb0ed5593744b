"""The command line as a user meets it: one clear line, the documented exit code, never a traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serve.cli.doctor import machine_here
from tests.support.scripted import make_artifact
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Store


def understudy(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serve.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_help_names_every_command() -> None:
    done = understudy("--help")
    for command in ("doctor", "build", "evaluate", "study", "catalog", "rollback", "gc", "serve", "load", "report"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("system", "processor", "ok"),
    [("Linux", "x86_64", True), ("Linux", "aarch64", False), ("Darwin", "arm64", False), ("Windows", "AMD64", False)],
)
def test_doctor_says_which_systems_and_processors_are_supported(system: str, processor: str, ok: bool) -> None:
    finding = machine_here(system, processor)
    assert (finding.ok, finding.needed, finding.detail) == (ok, True, f"{system} on {processor}")
    assert "macOS, Windows and ARM processors are not supported yet" in finding.mend


def test_doctor_prints_json() -> None:
    findings = json.loads(understudy("doctor", "--json").stdout)
    assert {"what", "ok", "needed", "detail", "mend"} == set(findings[0])
    assert all(finding["ok"] for finding in findings if finding["needed"])


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (("build", "none.yaml"), "there is no file none.yaml", 2),
        (("serve", "{typo}"), "models: Field required", 2),
        (("evaluate", "digit", "--stack", "{demo}"), "known are smollm2@baseline", 2),
        (("study", "{demo}", "--only", "audio", "--out", "{out}"), "--only: no model of the family 'audio'", 2),
        (("load", "--target", "http://127.0.0.1:9", "--out", "{out}"), "127.0.0.1:9", 5),
        (("report", "--out", "{out}"), "{out}", 2),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str, code: int) -> None:
    typo = tmp_path / "typo.yaml"
    typo.write_text("schema: 1")
    demo = Path(__file__).parents[4] / "deploy" / "stacks" / "demo.yaml"
    names = {"typo": str(typo), "out": str(tmp_path / "out"), "demo": str(demo)}
    done = understudy(*(part.format(**names) for part in arguments))
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert says.format(**names) in lines[-1]
    assert done.returncode == code


def test_the_catalog_lists_the_others_when_one_artifact_is_missing(tmp_path: Path) -> None:
    kept, gone = (make_artifact(tmp_path, "echo", name, "text-generation") for name in ("baseline", "int8"))
    for artifact in (kept, gone):
        Catalog(tmp_path).record(artifact.manifest)
    shutil.rmtree(gone.path)
    done = understudy("catalog", "--json", UNDERSTUDY_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    rows = {row["variant"]: row for row in document["variants"]}
    assert rows["baseline"]["artifact_bytes"] == kept.manifest.bytes
    assert rows["baseline"]["fault"] is None
    assert rows["int8"]["artifact_bytes"] is None
    assert "build it again" in rows["int8"]["fault"]
    assert document["space"]["artifacts"] == 1
    assert document["space"]["artifacts_bytes"] == rows["baseline"]["disk_bytes"] > 0
    assert "build it again" in understudy("catalog", UNDERSTUDY_HOME=str(tmp_path)).stdout


@pytest.fixture
def three_builds(tmp_path: Path) -> list[str]:
    """Digests of three builds that `echo@int8` has stood for, the last one current."""
    digests = []
    for text in ("first", "second", "third"):
        artifact = make_artifact(tmp_path, "echo", "int8", "text-generation", text)
        digests.append(Catalog(tmp_path).record(artifact.manifest).digest)
    return digests


def test_rolling_back_and_forward(tmp_path: Path, three_builds: list[str]) -> None:
    home = {"UNDERSTUDY_HOME": str(tmp_path)}
    first, second, third = three_builds
    done = understudy("rollback", "echo@int8", "--json", **home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) | {"bound": ""} == {
        "model": "echo", "variant": "int8", "artifact_sha256": second, "before_sha256": third, "bound": "",
    }  # fmt: skip
    assert f"rollback echo@int8 {second[:8]}" in understudy("rollback", "echo@int8", first[:8], **home).stdout
    (row,) = json.loads(understudy("catalog", "echo@int8", "--json", **home).stdout)["variants"]
    assert [(each["artifact_sha256"], each["why"], each["current"]) for each in row["history"]] == [
        (first, "build", False), (second, "build", False), (third, "build", False),
        (second, "rollback", False), (first, "rollback", True),
    ]  # fmt: skip
    assert (row["artifact_sha256"], row["rolled_back"]) == (first, True)
    table = understudy("catalog", "echo", **home).stdout.splitlines()
    assert ["echo@int8", first[:8], "rollback"] == [table[1].split()[place] for place in (0, 1, 4)]
    assert [line.split()[0] for line in table[2:6]] == [second[:8], third[:8], second[:8], first[:8]]


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (("rollback", "echo@int4"), "echo has no variant 'int4' (one of int8)", 2),
        (("rollback", "ecco@int8"), "there is no model 'ecco' in the catalog (one of echo)", 2),
        (("rollback", "echo"), "'echo' names no variant (one of echo@int8)", 2),
        (("rollback", "echo@int8", "x"), "no build of echo@int8 begins with 'x'", 2),
        (("rollback", "echo@int8", "{third}"), "stands for {third} already", 2),
        (("rollback", "echo@int8", "{first}"), "expected sha256", 3),
        (("catalog", "echo@int4"), "echo has no variant 'int4'", 2),
        (("gc", "--stack", "none.yaml"), "there is no file none.yaml", 2),
    ],
)
def test_rollback_catalog_and_gc_refuse_wrong_arguments(
    tmp_path: Path, three_builds: list[str], arguments: tuple[str, ...], says: str, code: int
) -> None:
    first, _, third = (digest[:8] for digest in three_builds)
    store = Store(tmp_path)
    (store.path(Catalog(tmp_path).model("echo").history("int8")[0].key) / "model" / "weights").write_text("damaged")
    before = Catalog(tmp_path).model("echo")
    done = understudy(*(part.format(first=first, third=third) for part in arguments), UNDERSTUDY_HOME=str(tmp_path))
    assert says.format(third=third) in done.stderr.strip().splitlines()[-1]
    assert (done.returncode, done.stdout) == (code, "")
    assert Catalog(tmp_path).model("echo") == before


def test_verify_detects_damage(tmp_path: Path, three_builds: list[str]) -> None:
    current = Catalog(tmp_path).model("echo").current("int8")
    (Store(tmp_path).path(current.key) / "model" / "weights").write_text("damaged")
    faults = [
        json.loads(understudy("catalog", "--json", *more, UNDERSTUDY_HOME=str(tmp_path)).stdout)["variants"][0]["fault"]
        for more in ((), ("--verify",))
    ]
    assert faults[0] is None
    assert "expected sha256" in faults[1]


def test_gc_keeps_the_given_number_of_builds(tmp_path: Path, three_builds: list[str]) -> None:
    home = {"UNDERSTUDY_HOME": str(tmp_path)}
    would = understudy("gc", "--keep", "1", "--dry-run", **home).stdout
    assert f"would be removed: echo@int8  {three_builds[0][:8]}" in would
    assert "would be freed" in would
    assert len(Store(tmp_path).stored()) == 3
    done = json.loads(understudy("gc", "--keep", "1", "--json", **home).stdout)
    assert [item["digest"] for item in done["removed"]] == three_builds[:1]
    assert [cut["binding"]["digest"] for cut in done["trimmed"]] == three_builds[:1]
    assert len(Store(tmp_path).stored()) == 2
    assert understudy("gc", **home).stdout == "0.0 MB freed\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nullcontext()", "understudy: interrupted\n"),
        ("ends_in_words('demo')", "demo: interrupted; everything it started has been ended\n"),
    ],
)
def test_an_interrupted_command_says_so_once(words: str, said: str) -> None:
    code = f"""
import sys
from contextlib import nullcontext
from loadtest.harness import ends_in_words
from serve.cli import main

@main.app.command("wait")
def wait() -> None:
    with {words}:
        raise KeyboardInterrupt

sys.argv = ["understudy", "wait"]
main.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, said)
