"""`understudy init` for a model of each family: what it writes is built as it stands."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtest.benchmarks.architectures.methods import SIDE
from loadtest.benchmarks.architectures.tiny import ARCHITECTURES, SCENE, write
from loadtest.benchmarks.yours import Run, carry_out
from loadtest.campaign.schema import read_campaign
from serve.cli.init import write_files
from serve.config.artifacts import build_stack
from serve.config.loader import load
from serve.init.request import Request, plan_for
from serve.init.task import Columns
from tests.support.long import long_only
from variants.machine import describe
from variants.progress import NoProgress

pytestmark = pytest.mark.integration
LABELS = ("a", "b", "c")
WORDS = ("river", "mill", "bridge", "water", "night", "morning", "stone", "field")
ROWS = 60


def model(name: str, folder: Path) -> Path:
    architecture = next(each for each in ARCHITECTURES if each.name == name)
    return write(architecture, folder / name.lower().replace(" ", "-"))


def texts() -> list[str]:
    return [f"the {WORDS[at % 8]} by the {WORDS[at // 8]} {at}" for at in range(ROWS)]


def picture(path: Path, at: int, side: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(at).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def csv_of_labels(folder: Path) -> tuple[Path, Request]:
    path = folder / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{LABELS[at % 3]}\n" for at, text in enumerate(texts())))
    return path, Request("")


def pairs_without_header(folder: Path) -> tuple[Path, Request]:
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{text}\tthe {WORDS[at % 7]}\t{at % 5}.0\n" for at, text in enumerate(texts())))
    return path, Request(
        "", beside={"columns": ["first", "second", "score"]}, columns=Columns(pair=("first", "second"))
    )


def folders_of_images(folder: Path) -> tuple[Path, Request]:
    for at in range(ROWS):
        picture(folder / "photos" / LABELS[at % 3] / f"{at}.png", at, SIDE)
    return folder / "photos", Request("")


def boxes_of_coco(folder: Path) -> tuple[Path, Request]:
    images, boxes = [], []
    for at in range(ROWS):
        picture(folder / "scenes" / f"{at}.png", at, SCENE)
        images.append({"id": at, "file_name": f"{at}.png", "width": SCENE, "height": SCENE})
        boxes.append({"id": at, "image_id": at, "category_id": at % 3, "bbox": [8, 8, 20, 24], "iscrowd": 0})
    kinds = [{"id": number, "name": name} for number, name in enumerate(LABELS)]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": kinds}))
    return path, Request("", beside={"format": "coco", "images": str(folder / "scenes")})


FAMILIES = [
    ("Llama", csv_of_labels, ["baseline", "int8", "int4"]),
    ("BERT", csv_of_labels, ["baseline", "int8"]),
    ("BERT encoder", pairs_without_header, ["baseline", "int8"]),
    ("ViT", folders_of_images, ["baseline", "int8"]),
    ("YOLOS", boxes_of_coco, ["baseline", "int8"]),
]


@pytest.mark.parametrize(("name", "data", "variants"), FAMILIES, ids=[name for name, _, _ in FAMILIES])
def test_what_it_writes_is_built(
    name: str,
    data: Callable[[Path], tuple[Path, Request]],
    variants: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    rows, said = data(tmp_path)
    request = Request(str(model(name, tmp_path)), str(rows), beside=said.beside, columns=said.columns, name="mine")
    done = write_files(plan_for(request, NoProgress()), tmp_path / "mine.yaml", force=False)
    stack, campaign = load(tmp_path / "mine.yaml"), read_campaign(Path(done["campaign"]))
    names = list(stack.models["mine"].variants)
    skipped = {"bf16"} if describe().multiplies_integers or name != "Llama" else {"bf16", "int8"}  # by the processor
    assert [each for each in names if each not in skipped] == [each for each in variants if each not in skipped]
    assert campaign.accuracy is not None
    (task,) = stack.models["mine"].evaluate
    assert campaign.accuracy.tests[0].n == len(stack.all_tasks.get(task).examples("test"))
    assert [variant for _, variant in build_stack(stack)] == names


@long_only
def test_the_commands_that_it_prints_lead_to_a_rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way of `make yours`: init, build, evaluate, serve, load, rollout."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    rows, _ = csv_of_labels(tmp_path)
    run = Run("text-classification", "tiny BERT", "words", "csv", model("BERT", tmp_path), rows)
    row = carry_out(run, tmp_path / "out")
    assert row["passed"], row["detail"]
    assert set(row["steps"]) == {"init", "build", "evaluate", "serve", "campaign", "rollout"}
