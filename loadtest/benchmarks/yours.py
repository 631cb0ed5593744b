"""`make yours`: models and data that the project does not know, from `understudy init` to a rollout.

Each run carries out `understudy init` and the commands that it prints, without an edit by hand. The data are those of
UNDERSTUDY_ZOO, and tables in other formats written from them. Writes `out/yours/yours.json` after each run:
`{"runs": [{"family", "model", "data", "format", "steps": {"init": s, ...}, "passed", "detail", "commit"}]}`. Goes on
where an earlier run of the same commit ended. Fails if a run failed.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from loadtest.errors import LoadError
from loadtest.harness import ROOT, ends_in_words, start_server, understudy
from serve.client.client import Client
from serve.config.loader import load
from serve.ports import free_port
from variants.errors import EngineError, InputError, UnderstudyError
from variants.files import write_atomic
from variants.home import home
from variants.progress import for_stream
from variants.recipes.source import fetch

OUT = ROOT / "out" / "yours"
SETTING = "UNDERSTUDY_ZOO"
STEPS = ("init", "build", "evaluate", "serve", "campaign", "rollout")
LEAST_PAIRS = 30
SETTLE_S = 30.0


class Run(NamedTuple):
    """One family, model and file of data. `flags` are what the data does not say."""

    family: str
    model: str
    data: str
    format: str
    source: Path
    path: Path
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.family}-{self.format}"


class Commands:
    """Runs the commands of one run in its folder, and keeps how long each step took, in seconds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        print(f"  {name} ...", file=sys.stderr, flush=True)
        yield
        self.steps[name] = round(time.monotonic() - began, 1)

    def run(self, *arguments: str) -> Any:
        """What one `understudy` command prints with --json. Raises EngineError with its last line where it fails."""
        command = understudy(*arguments, "--json")
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise EngineError(f"`understudy {' '.join(arguments)}` ended with code {done.returncode}: {said}")
        return json.loads(done.stdout)


def carry_out(run: Run, folder: Path) -> dict[str, Any]:
    """One run, as a row of yours.json."""
    folder.mkdir(parents=True, exist_ok=True)
    commands = Commands(folder)
    try:
        detail, passed = whole_way(run, commands), True
    except UnderstudyError as error:
        detail, passed = str(error), False
    row = {"family": run.family, "model": run.model, "data": run.data, "format": run.format}
    return row | {"steps": commands.steps, "passed": passed, "detail": detail}


def whole_way(run: Run, commands: Commands) -> str:
    """Every step of one run. Gives a sentence about its end; raises UnderstudyError where a step failed."""
    with commands.step("init"):
        flags = ("--data", str(run.path), "--name", run.name, "--force", *run.flags)
        done = commands.run("init", str(run.source), *flags)
    stack = commands.folder / done["stack"]
    with commands.step("build"):
        commands.run("build", str(stack))
    with commands.step("evaluate"):
        cards = commands.run("evaluate", "--stack", str(stack))
    if len(cards) != len(done["variants"]) or not all(card["accuracy"] for card in cards):
        raise EngineError(f"{len(cards)} cards, not one with a figure for each of {done['variants']}")
    with ExitStack() as children:
        with commands.step("serve"):
            url = start_server(children, stack, free_port(), commands.folder / "state")
        (campaign, start, *_) = [shlex.split(line)[1:] for line in done["commands"][2:]]
        with commands.step("campaign"):
            summary = commands.run(*campaign, "--target", url)
            check_answers(summary)
        with commands.step("rollout"):
            commands.run(*start, "--target", url)
            commands.run(*campaign, "--target", url)
            return ended(url, done["model"])


def check_answers(summary: dict[str, Any]) -> None:
    """Raises EngineError where a request of the campaign failed."""
    failed = {name: row["failed"] for name, row in counts_of(summary) if row["failed"]}
    if failed:
        raise EngineError(f"requests failed: {failed}")


def counts_of(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{model['model']}@{variant['variant']}", variant)
        for model in summary["models"]
        for variant in model["variants"]
    ]


def ended(url: str, model: str) -> str:
    """How the rollout stands. It has ended, or compared enough and says what it waits for."""
    until = time.monotonic() + SETTLE_S
    while True:
        answer = Client(url).rollout(model)
        rollout, pairs = answer["rollout"], answer["pairs"]["compared"]
        if rollout["status"] not in ("running", "paused") or time.monotonic() > until:
            break
        time.sleep(1)
    said = f"{rollout['status']} at step {rollout['step']} with {pairs} pairs: {rollout['why']}"
    if pairs < LEAST_PAIRS:
        raise EngineError(f"too few pairs: {said}")
    return said


def zoo() -> Path:
    """The folder of real data. Raises InputError without one."""
    folder = Path(os.environ.get(SETTING, "")).expanduser()
    if not os.environ.get(SETTING) or not folder.is_dir():
        raise InputError("names no folder of real data", field=SETTING, mend="see tests/README.md")
    return folder.resolve()


def source_of(stack: str, model: str) -> Path:
    """The files of a model that the project's stacks name, on this machine."""
    return fetch(load(ROOT / "deploy" / "stacks" / stack).models[model].source, home(), for_stream())


def runs(folder: Path) -> list[Run]:
    """All of them. Tables in other formats than the folder's are written below `out`."""
    smollm2, minilm = source_of("demo.yaml", "smollm2"), source_of("demo-all.yaml", "minilm")
    lite0 = source_of("imagenet.yaml", "efficientnet-lite0")
    text, lm, detection = folder / "text", folder / "lm", folder / "detection"
    return [
        Run("text-generation", "SmolLM2-135M", "SST-2", "tsv", smollm2, text / "sst2.tsv"),
        Run(
            "text-generation", "SmolLM2-135M", "PIQA", "jsonl", smollm2, lm / "piqa_valid_1000.jsonl",
            ("--labels", str(lm / "piqa_valid_1000_labels.lst")),
        ),
        Run(
            "text-classification", "MiniLM-L6-v2", "AG News", "csv", minilm, text / "ag_news_test_3800.csv",
            ("--columns", "label,title,text", "--family", "text-classification"),
        ),
        Run("text-classification", "MiniLM-L6-v2", "SST-2", "parquet", minilm, as_parquet(text / "sst2.tsv"),
            ("--family", "text-classification")),
        Run(
            "feature-extraction", "MiniLM-L6-v2", "STS-B", "tsv", minilm, text / "sts_test.csv",
            ("--format", "tsv", "--pair", "first,second",
             "--columns", "genre,file,year,number,score,first,second,from1,from2"),
        ),
        Run(
            "image-classification", "EfficientNet-Lite0", "ImageNet", "images", lite0, folder / "imagenet500",
            ("--file-names", r"(?P<label>\d{4})_.*"),
        ),
        Run(
            "object-detection", "YOLOX-nano", "COCO", "yolo", detection / "yolox_nano.onnx",
            detection / "coco96" / "labels", ("--format", "yolo", "--images", str(detection / "coco96" / "images")),
        ),
    ]  # fmt: skip


def as_parquet(table: Path) -> Path:
    """The same rows as Parquet."""
    import pandas

    path = OUT / "data" / f"{table.stem}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pandas.read_csv(table, sep="\t", quoting=3, dtype=str).to_parquet(path)
    return path


def commit_here() -> str:
    """The commit of the project, with a mark where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def carry_out_all(
    wanted: Iterable[Run], out: Path, carry: Callable[[Run, Path], dict[str, Any]] = carry_out
) -> Sequence[dict[str, Any]]:
    """Each run that has not passed yet. Writes yours.json after each."""
    path = out / "yours.json"
    before = json.loads(path.read_bytes())["runs"] if path.exists() else []
    commit = commit_here()
    rows = {f"{row['family']}-{row['format']}": row for row in before if row["passed"] and row["commit"] == commit}
    for run in wanted:
        if run.name in rows:
            print(f"{run.name}: passed before", file=sys.stderr)
            continue
        print(f"{run.name}: {run.model} with {run.data}", file=sys.stderr, flush=True)
        rows[run.name] = carry(run, out / run.name) | {"commit": commit}
        print(f"{run.name}: {rows[run.name]['detail']}", file=sys.stderr, flush=True)
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps({"runs": list(rows.values())}, indent=2).encode())
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="one run, by family or by family-format")
    only = parser.parse_args().only
    with ends_in_words("yours"):
        wanted = [run for run in runs(zoo()) if only in (None, run.family, run.name)]
        if not wanted:
            raise InputError(f"there is no run {only!r}", field="--only")
        done = carry_out_all(wanted, OUT)
        if failed := [f"{row['family']}-{row['format']}" for row in done if not row["passed"]]:
            raise LoadError(f"failed: {', '.join(failed)}", mend=f"see {OUT / 'yours.json'}")


if __name__ == "__main__":
    main()
