import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support.recipes import parse_recipe
from tests.unit.variants.build.test_builder import World
from variants.artifacts.tensors import TensorEntry
from variants.build import need
from variants.errors import RecipeError, StoreFull

GPTQ = {
    "kind": "quantize", "scheme": "w4a16", "group_size": 64, "algorithm": "gptq",
    "calibration": {"task": "mnist", "examples": 8},
}  # fmt: skip
GIB = need.GIB


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder with a model of 2 GiB in bfloat16, of which the disk holds the header alone."""
    folder = tmp_path / "large"
    folder.mkdir()
    shapes = {"model.embed_tokens.weight": (2**15, 2**12), "model.layers.0.mlp.up_proj.weight": (2**18, 7 * 2**9)}
    write_sparse(folder / "model.safetensors", shapes)
    return folder


def write_sparse(file: Path, shapes: dict[str, tuple[int, int]]) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, (rows, columns) in shapes.items():
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [end, end + 2 * rows * columns]}
        end += 2 * rows * columns
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + end)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the machine says is free, in bytes."""
    amounts = {"memory": 18 * GIB, "disk": 40 * GIB}
    monkeypatch.setattr(need, "available_memory_bytes", lambda: amounts["memory"])
    monkeypatch.setattr(need, "free_bytes", lambda folder: amounts["disk"])
    monkeypatch.setattr(need, "multiplies_bfloat16", lambda: True)
    return amounts


def check(folder: Path, recipe: dict[str, Any]) -> str:
    return need.check("text-generation", parse_recipe(recipe), folder, folder)


def test_what_a_build_needs_is_said_with_what_is_free(large: Path, free: dict[str, int]) -> None:
    told = check(large, {"kind": "quantize", "scheme": "w8a8"})
    assert told == "needs about 3.8 GiB of memory (18.0 GiB available) and 1.3 GiB of disk (40.0 GiB free)"


def test_disk_follows_the_bits_of_a_weight(large: Path, free: dict[str, int]) -> None:
    sizes = [
        float(check(large, recipe).split(" and ")[1].split()[0])
        for recipe in (
            {"kind": "baseline", "dtype": "float32"},
            {"kind": "baseline", "dtype": "bfloat16"},
            {"kind": "quantize", "scheme": "w8a8"},
            {"kind": "quantize", "scheme": "nf4"},
        )
    ]
    assert sizes[:2] == [4.0, 2.0]
    assert sizes == sorted(sizes, reverse=True)


def test_too_little_memory_is_refused_with_what_would_fit(large: Path, free: dict[str, int]) -> None:
    free["memory"] = 4 * GIB
    with pytest.raises(RecipeError, match=r"needs about 4\.8 GiB of memory \(4\.0 GiB available\)") as refused:
        check(large, GPTQ)
    assert refused.value.field == "recipe"
    assert refused.value.mend == "free 768 MiB or take algorithm rtn, nf4, w8a8"
    free["memory"] = GIB
    with pytest.raises(RecipeError) as refused:
        check(large, GPTQ)
    assert refused.value.mend == "free 3,840 MiB"


def test_what_is_held_beside_the_variant_is_counted(
    large: Path, free: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = {"kind": "quantize", "scheme": "w8a8", "keep": "auto", "calibration": GPTQ["calibration"]}
    assert check(large, keep).startswith("needs about 5.8 GiB of memory")
    monkeypatch.setattr(need, "multiplies_bfloat16", lambda: False)
    assert check(large, keep).startswith("needs about 9.8 GiB of memory")


def test_too_little_disk_is_refused_with_how_much_to_free(large: Path, free: dict[str, int]) -> None:
    free["disk"] = GIB
    with pytest.raises(StoreFull, match=r"2\.0 GiB of disk \(1\.0 GiB free\)") as refused:
        check(large, {"kind": "baseline", "dtype": "bfloat16"})
    assert "free 1,024 MiB below" in str(refused.value.mend)


@pytest.mark.parametrize("recipe", [{"kind": "merge"}, {"kind": "baseline", "dtype": "bfloat16"}])
def test_without_a_figure_nothing_is_said(tmp_path: Path, free: dict[str, int], recipe: dict[str, Any]) -> None:
    free["memory"] = free["disk"] = 0
    write_sparse(tmp_path / "model.safetensors", {"weight": (2**10, 2**10)})
    assert check(tmp_path, recipe) == "", "a small model, or a recipe that was never measured"
    (tmp_path / "model.safetensors").write_text("no header")
    assert check(tmp_path, recipe) == "", "the method says what is wrong with the file"


def test_a_head_of_its_own_is_counted() -> None:
    entries = [("wte.weight", TensorEntry("BF16", (100, 8))), ("h.0.weight", TensorEntry("BF16", (8, 8)))]
    assert need.need_of(entries, "w8a8").disk == round(8.1 / 8 * 64) + 2 * 800 + 800


def test_a_build_that_does_not_fit_names_its_variant_and_does_no_work(
    tmp_path: Path, free: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, folder = World(tmp_path), tmp_path / "model"
    folder.mkdir()
    write_sparse(folder / "model.safetensors", {"weight": (2**10, 2**10)})
    world.source = world.source.model_copy(update={"uri": str(folder)})
    monkeypatch.setattr(need, "SMALL_BYTES", 0)
    free["memory"] = GIB // 2
    with pytest.raises(RecipeError) as refused:
        world.build(world.plan("baseline"))
    assert refused.value.field == "models.m.variants.baseline.recipe"
    assert (world.ran, world.said) == ([], [])
    free["memory"] = GIB
    with pytest.raises(IsADirectoryError):  # now the method ran, and takes files alone
        world.build(world.plan("other"))
    assert world.said[0].startswith("m@other: needs about 0.8 GiB of memory (1.0 GiB available)")


def test_a_second_layout_of_the_weights_and_links_that_lead_nowhere_do_not_count(
    large: Path, free: dict[str, int], tmp_path: Path
) -> None:
    recipe = {"kind": "quantize", "scheme": "w8a8"}
    told = check(large, recipe)
    (large / "consolidated.safetensors").symlink_to(large / "model.safetensors")
    assert check(large, recipe) == told
    (large / "model-00001-of-00001.safetensors").symlink_to(large / "model.safetensors")
    (large / "model.safetensors").rename(large / "whole")
    (large / "model-00001-of-00001.safetensors").unlink()
    (large / "model-00001-of-00001.safetensors").symlink_to(large / "whole")
    names = {"weight_map": {"model.embed_tokens.weight": "model-00001-of-00001.safetensors"}}
    (large / "model.safetensors.index.json").write_text(json.dumps(names))
    assert check(large, recipe) == told
    (large / "whole").unlink()
    assert check(large, recipe) == "", "the method says what is wrong with the file"


def test_what_is_finished_needs_no_more_disk(large: Path, free: dict[str, int]) -> None:
    free["disk"], recipe = GIB, parse_recipe({"kind": "baseline", "dtype": "bfloat16"})
    with pytest.raises(StoreFull):
        need.check("text-generation", recipe, large, large, GIB // 2)
    assert "1.0 GiB of disk" in need.check("text-generation", recipe, large, large, GIB)
