"""A built wheel, installed outside of the clone, does what the clone does."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.benchmarks.architectures.tiny import ARCHITECTURES, write

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh environment with the built wheel. Its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", "-q", *offline, "--no-build-isolation", "-w", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("understudy-*.whl")
    venv.create(folder / "environment", with_pip=False)
    packages = next((folder / "environment" / "lib").glob("python*")) / "site-packages"
    subprocess.run([*pip, "install", "-q", *offline, "--target", str(packages), str(wheel)], check=True)
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    program = folder / "environment" / "bin" / "understudy"
    program.write_text(f"#!{program.with_name('python')}\nfrom serve.cli.main import main\nmain()\n")
    program.chmod(0o755)
    return program


def short(campaign: Path) -> None:
    """Make the load of a campaign file last a second or two."""
    document: dict[str, Any] = yaml.safe_load(campaign.read_text())
    document["mixed"]["seconds"] = 2
    document["accuracy"]["tests"][0]["n"] = 20
    document["speed"]["tests"][0]["slice_s"] = 0.5
    campaign.write_text(yaml.safe_dump(document))


def test_init_build_serve_and_the_demo_run_outside_of_the_clone(program: Path, tmp_path: Path) -> None:
    encoder = next(each for each in ARCHITECTURES if each.name == "BERT encoder")
    model, pairs = write(encoder, tmp_path / "model"), tmp_path / "pairs.csv"
    rows = "".join(f"the mill {at},the river {at % 7},{at % 5}.5\n" for at in range(60))
    pairs.write_text(f"one,other,score\n{rows}")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments], cwd=tmp_path, capture_output=True, text=True,
            env=environment | {"UNDERSTUDY_HOME": str(tmp_path / "home")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    assert f"{program.parents[1]}" in subprocess.check_output(
        [program.with_name("python"), "-c", "import serve; print(serve.__file__)"],
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert "understudy serve mine.yaml" in run(
        "init", str(model), "--data", str(pairs), "--pair", "one,other", "--name", "mine"
    )
    assert "mine@int8" in run("build", "mine.yaml")
    short(tmp_path / "mine-campaign.yaml")
    # It serves the baseline, applies the whole stack to that server, loads it and reports.
    said = run("demo", "--stack", "mine.yaml", "--campaign", "mine-campaign.yaml", "--out", "demo")
    assert "s in all: first answers" in said
    assert {"summary.json", "report.html", "phases.json"} <= {path.name for path in (tmp_path / "demo").iterdir()}
