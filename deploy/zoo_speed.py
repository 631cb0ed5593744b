"""`make zoo-speed`: how much faster int8 is on published models, held against what is required of it.

Classifiers: forward passes beside the same weights in torch float32, in interleaved rounds, as
`loadtest.peers.image_speed` does. The detector: its forward pass beside its parent's, both in the engine that serves
them, by its card. The photographs lie where UNDERSTUDY_ZOO says; what is found is kept for the study's page.
"""

import argparse
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import median

import numpy as np
import openvino
import torch

from deploy.demo import ROOT, ends_in_words, interrupt_on_signals
from loadtest.peers import image_speed
from serve.engines.openvino_model import EXECUTES
from serve.evaluation import evaluate_stack
from serve.making import build_stack
from serve.stack import load
from serve.study.requirement import Requirement, found_here, keep
from serve.study.words import met
from variants.errors import InputError
from variants.machine import multiplies_integers
from variants.store import Artifact
from variants.tasks.coco96 import FOLDER
from variants.tasks.imagenet import SETTING

STACKS = ROOT / "deploy" / "stacks"
PASSES = 20


def zoo() -> Path:
    """Raises InputError where there is none."""
    folder = Path(os.environ.get(FOLDER) or "").resolve()
    if not os.environ.get(FOLDER) or not (folder / "detection" / "yolox_nano.onnx").is_file():
        raise InputError("names no folder of published models and real data", field=FOLDER, mend=f"set {FOLDER}")
    return folder


def slow_for_int8() -> str:
    """Why int8 gains little on this machine, as far as that is known."""
    return "" if multiplies_integers() else "this CPU multiplies 8-bit integers without VNNI"


def classifiers(rounds: int) -> Iterator[Requirement]:
    """Each model's int8 beside torch as it comes, the usual float32."""
    stack = load(STACKS / "imagenet.yaml")
    torch.set_num_threads(1)
    for name in stack.models:
        ways = image_speed.ways(stack.only(name, "baseline", "int8"), name, batch=1)
        found = image_speed.measure(ways, rounds, seconds=1.0)
        image_speed.show(name, found, 1)
        way = next(each for each in ways if each.startswith("int8"))
        ratios = [each[way] / each[image_speed.PEER] for each in found]
        yield speed(
            f"{name}-int8-speed", f"{name} int8: forward pass, times as fast as torch in float32", 3, median(ratios),
            f"{rounds} rounds, {min(ratios):.2f} to {max(ratios):.2f}", slow_for_int8(),
        )  # fmt: skip


def detector(folder: Path) -> Iterator[Requirement]:
    """Raises InputError where its card lacks the forward pass."""
    stack = load(STACKS / "yolox.yaml")
    model = stack.models["yolox"]
    source = model.source.model_copy(update={"uri": str(folder / "detection" / "yolox_nano.onnx")})
    here = stack.model_copy(update={"models": {"yolox": model.model_copy(update={"source": source})}})
    artifacts = build_stack(here)
    (card,) = evaluate_stack(here, ["yolox@int8"], None, again=True)
    if card.speedup is None or card.speedup.inference is None:
        raise InputError("the card of yolox@int8 does not time the forward pass")
    ratio, what = card.speedup.inference, "YOLOX-nano int8: forward pass, times as fast as f32"
    sample = f"in turns with f32, {ratio.low:.2f} to {ratio.high:.2f}"
    why = slow_for_int8() or where_int8_goes(artifacts["yolox", "baseline"], artifacts["yolox", "int8"])
    yield speed("yolox-int8-speed", what, 1.5, ratio.value, sample, why)


def where_int8_goes(baseline: Artifact, int8: Artifact) -> str:
    """What int8 makes faster, and what it leaves."""
    before, after = (spent(each.model_path / "model.xml", each.manifest.precision) for each in (baseline, int8))
    rows = zip(("convolutions", "all else"), before, after, strict=True)
    return "; ".join(f"{what} {f32:.1f} ms in f32, {less:.1f} in int8" for what, f32, less in rows)


def spent(path: Path, precision: str) -> tuple[float, float]:
    """Milliseconds of a forward pass in convolutions and in all else, compiled as the engine does, by OpenVINO's
    own counters: the mean of PASSES passes over noise, on one thread."""
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": EXECUTES[precision], "INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True}
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    noise = np.random.default_rng(0).uniform(0, 255, request.get_input_tensor().shape).astype(np.float32)
    request.infer([noise])
    took = [0.0, 0.0]
    for _ in range(PASSES):
        request.infer([noise])
        for each in request.profiling_info:
            took["Convolution" not in each.node_type] += each.real_time.total_seconds() * 1000 / PASSES
    return took[0], took[1]


def speed(name: str, what: str, limit: float, value: float, sample: str, why: str) -> Requirement:
    return found_here(
        name, what, sense="at least", limit=limit, unit="times", value=value, sample=sample, why=why,
        command="make zoo-speed",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Hold int8's speed on published models against what is required.")
    parser.add_argument("--rounds", type=int, default=9, help="of the classifiers, a second each way")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "study", help="the study's folder")
    given = parser.parse_args()
    interrupt_on_signals()
    folder = zoo()
    os.environ.setdefault(SETTING, str(folder / "imagenet500"))
    for found in chain(classifiers(given.rounds), detector(folder)):
        keep(found, given.out)
        print(f"{found.what}: {found.value:.2f}, {found.sense} {found.limit:g} ({found.sample}); met: {met(found)}")


if __name__ == "__main__":
    with ends_in_words("zoo-speed"):
        main()
