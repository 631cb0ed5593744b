"""Packing layer by layer writes what llmcompressor's `save_pretrained` writes, in as many files as wanted, and goes on
after an interruption."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.methods.base import BuildJob
from variants.methods.text_generation import llmcompressor, packing
from variants.methods.text_generation.baseline import load
from variants.progress import Unit
from variants.recipes.recipe import Quantize
from variants.recipes.source import Source
from variants.tasks import Tasks
from variants.tasks.task_file import TaskFile

pytestmark = pytest.mark.integration
RECIPES: dict[str, dict[str, Any]] = {
    "w8a8": {"kind": "quantize", "scheme": "w8a8"},
    "w4a16": {"kind": "quantize", "scheme": "w4a16", "group_size": 32, "int8_layers": ["down_proj"]},
    "w8a8-fp8": {"kind": "quantize", "scheme": "w8a8-fp8"},
}


class Interrupting:
    """Progress that raises KeyboardInterrupt before the wanted layer is packed, and notes the steps."""

    def __init__(self, at: float | None = None) -> None:
        self.at = at
        self.steps: list[str] = []
        self.packed: list[float] = []

    @contextmanager
    def step(self, what: str, total: float | None = None, unit: Unit = "") -> Iterator["Interrupting"]:
        self.steps.append(what)
        yield self

    def to(self, done: float, total: float | None = None) -> None:
        if self.steps[-1] == "packing layer by layer":
            if done == self.at:
                raise KeyboardInterrupt
            self.packed.append(done)


@pytest.fixture(scope="module")
def tied(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama with its head tied to its embedding."""
    folder = tmp_path_factory.mktemp("tied")
    model, tokenizer = load(tiny_llama, "bfloat16")
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def quantized(folder: Path, out: Path, recipe: dict[str, Any]) -> tuple[Any, BuildJob[Quantize]]:
    """The model in `folder`, quantized in memory."""
    work: Any = job(recipe, out)
    model, tokenizer = llmcompressor._load(work, folder, plain_head=False)
    llmcompressor._round(work, model, tokenizer, plain_head=False)
    return model, work


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: each for file in folder.glob("*.safetensors") for name, each in load_file(file).items()}


@pytest.mark.parametrize("scheme", RECIPES)
@pytest.mark.parametrize("files", [1, 4])
def test_what_is_written_is_what_the_library_writes(
    scheme: str, files: int, tied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model, work = quantized(tied, tmp_path / "ours", RECIPES[scheme])
    monkeypatch.setattr(packing, "FILE_BYTES", packing.FILE_BYTES if files == 1 else 50_000)
    packing.write_packed(model, work.out, tmp_path / "finished", work.progress)
    model.save_pretrained(tmp_path / "theirs", save_compressed=True)
    ours, theirs = tensors(work.out), tensors(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    for name, each in theirs.items():
        assert ours[name].dtype == each.dtype, name
        assert torch.equal(ours[name].view(torch.uint8), each.view(torch.uint8)), name
    mine, wanted = (json.loads((folder / "config.json").read_text()) for folder in (work.out, tmp_path / "theirs"))
    assert mine == wanted
    assert (work.out / "generation_config.json").read_bytes() == (
        tmp_path / "theirs/generation_config.json"
    ).read_bytes()
    index = work.out / "model.safetensors.index.json"
    assert len(list(work.out.glob("*.safetensors"))) >= files
    assert index.exists() is (files > 1)
    if files > 1:
        assert json.loads(index.read_text())["weight_map"].keys() == ours.keys()


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    rows = "".join(f"{' '.join(f'w{(start + step) % 123}' for step in range(24))}\n" for start in range(160))
    (tmp_path / "rows.csv").write_text(f"text\n{rows}")
    definition = {"data": {"uri": str(tmp_path / "rows.csv")}, "input": "{{ text }}", "scorer": "passage"}
    return Tasks({"own": TaskFile.model_validate(definition)})


def made(home: Path, source: Path, tasks: Tasks, progress: Interrupting) -> Artifact:
    """The int8 variant, by the builder."""
    plans = [
        VariantPlan(
            "tiny", name, "text-generation", Source(uri=str(source), licence="MIT"), parse_recipe(recipe), parent,
            tasks=tasks, evaluate=("own",),
        )
        for name, recipe, parent in (
            ("baseline", {"kind": "baseline", "dtype": "bfloat16"}, None),
            ("int8", RECIPES["w8a8"], "baseline"),
        )
    ]  # fmt: skip
    return build(plans, Store(home), Catalog(home), progress, say=lambda text: None)["tiny", "int8"]


def test_an_interrupted_build_goes_on_at_the_layer(
    tiny_llama: Path, tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "FILE_BYTES", 50_000)
    whole = Interrupting()
    wanted = made(tmp_path / "whole", tiny_llama, tasks, whole)
    at = whole.packed[len(whole.packed) * 2 // 3]
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "home", tiny_llama, tasks, Interrupting(at))
    left = tmp_path / "home" / "artifacts" / ".unfinished"
    assert len(list(left.rglob("*.safetensors"))) > 1
    again = Interrupting()
    artifact = made(tmp_path / "home", tiny_llama, tasks, again)
    assert 0 < len(again.packed) < len(whole.packed), "finished files are not packed again"
    assert "checking that it generates" in whole.steps
    assert "checking that it generates" not in again.steps
    assert artifact.manifest.digest == wanted.manifest.digest
    assert artifact.manifest.loss == wanted.manifest.loss is not None
    assert not list(left.iterdir())


def test_what_other_libraries_finished_does_not_count(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: Any = job(RECIPES["w8a8"], tmp_path / "out")
    before = packing.Unfinished(work, ("torch",))
    before.begin(None, None)
    assert packing.Unfinished(work, ("torch",)).outcome() is not None
    monkeypatch.setattr(packing, "versions", lambda packages: {"torch": "0"})
    assert packing.Unfinished(work, ("torch",)).outcome() is None


def test_a_model_whose_files_have_other_names_is_written_by_the_library(tied: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    shapes = llmcompressor.outline(tied)
    assert llmcompressor._keeps_names(tied, shapes)
    renamed = {name.replace("mlp", "ffn"): each for name, each in tensors(tied).items()}
    save_file(renamed, tmp_path / "model.safetensors")
    assert not llmcompressor._keeps_names(tmp_path, shapes)
