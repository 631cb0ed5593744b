"""`make build-cost`: measures the peak memory and the time of text-generation builds, over sizes and schemes.

The parents are Llamas with random weights in bfloat16: memory does not depend on what the weights are. Each build is a
child process. It imports the libraries first, and its peak is what it holds above that. The kernel counts the peak,
memory-mapped pages included (`variants/artifacts/build_cost.py`). The measurement of the loss is a part of each build.

It writes `out/build-cost/build-cost.json`, a list, after each build, `machine.json` beside it, and the table in
`docs/performance.md` at the end. A build that fails is noted as failed. A second run goes on where the first ended and
tries failed builds again; `rm -r out/build-cost` begins again.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from pydantic import TypeAdapter

from loadtest.benchmarks.figures import put_into, write_figures
from loadtest.harness import ROOT, ends_in_words
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Store
from variants.artifacts.tensors import tensor_entries
from variants.build.builder import VariantPlan, build
from variants.files import write_atomic
from variants.methods.registry import Method, find
from variants.recipes.recipe import Recipe
from variants.recipes.source import Source
from variants.tasks import Tasks
from variants.tasks.task_file import TaskFile

OUT = ROOT / "out" / "build-cost"
DOCUMENT = ROOT / "docs" / "performance.md"
_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)
TASK = "counting"
CALIBRATION = {"task": TASK, "examples": 16}
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("bf16", "baseline"): {"kind": "baseline", "dtype": "bfloat16"},
    ("w8a8", "rtn"): {"kind": "quantize", "scheme": "w8a8"},
    ("nf4", "rtn"): {"kind": "quantize", "scheme": "nf4"},
    ("w4a16", "rtn"): {"kind": "quantize", "scheme": "w4a16", "group_size": 64},
    ("w8a8-fp8", "rtn"): {"kind": "quantize", "scheme": "w8a8-fp8"},
    ("w4a16", "gptq"): {
        "kind": "quantize", "scheme": "w4a16", "group_size": 64, "algorithm": "gptq", "calibration": CALIBRATION,
    },
    ("w4a16", "awq"): {
        "kind": "quantize", "scheme": "w4a16", "group_size": 64, "algorithm": "awq", "calibration": CALIBRATION,
    },
}  # fmt: skip


class Shape(NamedTuple):
    """A Llama's sizes."""

    hidden: int
    inner: int
    layers: int
    vocabulary: int = 32_000


SHAPES = {
    "0.1": Shape(640, 1_792, 12),
    "0.4": Shape(1_024, 4_096, 20),
    "1.1": Shape(2_048, 5_632, 18),
    "3": Shape(2_560, 8_192, 30),
}
"""By billions of parameters."""


def write_llama(folder: Path, shape: Shape) -> None:
    """Write a Llama with random weights and a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    words = [*dict.fromkeys(special.values()), *(f"w{index}" for index in range(shape.vocabulary - 3))]
    plain = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, special["unk_token"]))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.hidden // 64, max_position_embeddings=512,
        bos_token_id=1, eos_token_id=2, pad_token_id=2, tie_word_embeddings=False, dtype="bfloat16",
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    try:
        LlamaForCausalLM(config).save_pretrained(folder)
    finally:
        torch.set_default_dtype(torch.float32)
    PreTrainedTokenizerFast(tokenizer_object=plain, **special).save_pretrained(folder)


def texts(folder: Path) -> Tasks:
    """A task of texts that count upwards, in a file in `folder`."""
    file = folder / "texts.csv"
    if not file.exists():
        with file.open("w") as rows:
            lines = (" ".join(f"w{(start * 97 + step) % 31_000}" for step in range(128)) for start in range(160))
            csv.writer(rows).writerows([["text"], *([line] for line in lines)])
    definition = {"data": {"uri": str(file)}, "input": "{{ text }}", "scorer": "passage"}
    return Tasks({TASK: TaskFile.model_validate(definition)})


def anywhere(task: str, recipe: Recipe, field: str) -> Method:
    """The method of a recipe, also where it needs a GPU only to be served."""
    return replace(find(task, recipe, field), capability=None)


def measure(folder: Path, scheme: str, algorithm: str) -> dict[str, Any]:
    """Build one variant of the Llama in `folder` in this process. Its baseline is built first where there is none, and
    its time and memory are not those returned. Raises UnderstudyError where the build fails."""
    import bitsandbytes  # noqa: F401
    import llmcompressor  # noqa: F401
    import torch  # noqa: F401
    from transformers import LlamaForCausalLM  # noqa: F401

    tasks, source = texts(folder), Source(uri=str(folder / "model"), licence="none")
    store, catalog = Store(folder / "home"), Catalog(folder / "home")

    def plan(name: str, recipe: dict[str, Any], parent: str | None = None) -> VariantPlan:
        typed = _RECIPE.validate_python(recipe)
        return VariantPlan("llama", name, "text-generation", source, typed, parent, tasks=tasks, evaluate=(TASK,))

    plans = [plan("baseline", RECIPES["bf16", "baseline"])]
    if (scheme, algorithm) != ("bf16", "baseline"):
        plans.append(plan(f"{scheme}-{algorithm}", RECIPES[scheme, algorithm] | {"most_loss": None}, "baseline"))
    imported = psutil.Process().memory_info().rss
    made = build(plans, store, catalog, method_for=anywhere)["llama", plans[-1].variant].manifest
    assert made.effort is not None
    peak = made.effort.peak_bytes
    entries = [each for file in (folder / "model").glob("*.safetensors") for each in tensor_entries(file).values()]
    parameters = sum(prod(each.shape) for each in entries)
    return {
        "parameters": parameters, "scheme": scheme, "algorithm": algorithm, "bf16_bytes": 2 * parameters,
        "peak_bytes": None if peak is None else peak - imported, "seconds": made.effort.seconds,
    }  # fmt: skip


def in_a_child(*arguments: str) -> None:
    """Run this module with `arguments` in a process of its own. Raises CalledProcessError where it fails."""
    subprocess.run([sys.executable, "-m", __spec__.name, *arguments], cwd=ROOT, check=True)


def run(sizes: Sequence[str], recipes: Sequence[tuple[str, str]], out: Path) -> list[dict[str, Any]]:
    """The figures of all builds that `out` has, earlier runs' included, by size and scheme. A build that `out` already
    has is not repeated unless it failed."""
    out.mkdir(parents=True, exist_ok=True)
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix=f"llama-{size}-", dir=out) as folder:
            for scheme, algorithm in recipes:
                kept = out / "parts" / f"{size}-{scheme}-{algorithm}.json"
                if not kept.exists() or "failed" in json.loads(kept.read_text()):
                    try:
                        _prepare(Path(folder), size)
                        in_a_child("--measure", folder, scheme, algorithm, "--to", str(kept))
                    except subprocess.CalledProcessError as error:
                        _note_failure(kept, size, scheme, algorithm, error)
                print(_line(json.loads(kept.read_text())), flush=True)
                write_atomic(out / "build-cost.json", (json.dumps(_figures(out), indent=2) + "\n").encode())
    return _figures(out)


def _figures(out: Path) -> list[dict[str, Any]]:
    """The figures of every build that `out` has, in the order of sizes and recipes."""
    files = (out / "parts" / f"{size}-{'-'.join(names)}.json" for size in SHAPES for names in RECIPES)
    return [json.loads(file.read_text()) for file in files if file.exists()]


def _note_failure(kept: Path, size: str, scheme: str, algorithm: str, error: subprocess.CalledProcessError) -> None:
    """Note a failed build. What it printed says why."""
    parameters = round(float(size) * 1e9)
    figure = {
        "parameters": parameters, "scheme": scheme, "algorithm": algorithm, "bf16_bytes": 2 * parameters,
        "peak_bytes": None, "seconds": None, "failed": f"exit code {error.returncode}",
    }  # fmt: skip
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(kept, json.dumps(figure).encode())


def _prepare(folder: Path, size: str) -> None:
    """Write the Llama and build its baseline, so that no other build does it in its own process."""
    if not (folder / "model").exists():
        in_a_child("--write", str(folder), "--parameters", size)
        in_a_child("--measure", str(folder), "bf16", "baseline", "--to", str(folder / "baseline.json"))


def _line(figure: dict[str, Any]) -> str:
    ratio = f"{figure['peak_bytes'] / figure['bf16_bytes']:.2f}" if figure["peak_bytes"] else "not known"
    size = f"{figure['parameters'] / 1e9:.2f}"
    seconds = "failed" if "failed" in figure else f"{figure['seconds']:.0f}"
    return f"| {size} | {figure['scheme']} | {figure['algorithm']} | {ratio} | {seconds} |"


def table(figures: Sequence[dict[str, Any]]) -> str:
    """The figures as a table in Markdown."""
    head = "| billion parameters | scheme | algorithm | peak memory / bf16 bytes | seconds |\n|---|---|---|---|---|"
    return "\n".join([head, *map(_line, figures)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="build-cost", description=__doc__)
    parser.add_argument("--parameters", nargs="+", choices=SHAPES, default=["0.1", "0.4", "1.1"], help="billions")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        write_llama(asked.write / "model", SHAPES[asked.parameters[0]])
    elif asked.measure:
        folder, scheme, algorithm = asked.measure
        figure = measure(Path(folder), scheme, algorithm)
        asked.to.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(asked.to, json.dumps(figure).encode())
    else:
        figures = run(asked.parameters, list(RECIPES), OUT)
        write_figures(OUT / "machine.json", {"command": "make build-cost"})
        put_into(DOCUMENT, "build-cost", table(figures))


if __name__ == "__main__":
    with ends_in_words("build-cost"):
        main()
