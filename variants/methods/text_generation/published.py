"""Checkpoints that somebody else has compressed. They are checked and copied as they are; nothing is converted.

A checkpoint says in `config.json`, below `quantization_config`, how it was compressed. vLLM believes that. So the claim
is compared with the tensors in the files: a wrong one would fail when the engine starts, or answer nonsense.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from variants.artifacts.manifest import Precision
from variants.artifacts.tensors import tensor_entries
from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.recipes.hub import HUB_FILES
from variants.recipes.recipe import Published

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
MARKS: Mapping[str, tuple[str, str]] = {
    "packed": (".weight_packed", "I32"),
    "int8": (".weight", "I8"),
    "fp8": (".weight", "F8_E4M3"),
    "qweight": (".qweight", "I32"),
    "nf4": (".weight", "U8"),
}
"""The end of a tensor's name and its dtype in safetensors, by how a checkpoint stores its compressed weights."""
WHOLE = "compress the model with safetensors beside its config.json: int4, int8, fp8 or nf4"
UNSERVED: Mapping[str, tuple[str, str]] = {
    ".gguf": (
        "GGUF",
        "kind: baseline widens it to 16 bits, as the source of a model of its own; llama.cpp would run it as it is",
    ),
    ".onnx": ("ONNX", WHOLE),
    ".xml": ("an OpenVINO IR", WHOLE),
}
"""What a form is called, and what to do instead, by the end of a file's name. vLLM 0.32 has no loader for GGUF."""


def published(job: BuildJob[Published]) -> MethodResult:
    """The folder `job.source` as it is: configuration, safetensors and tokenizer.

    Raises SourceError for a folder that lacks one of them or is not what it says. Raises RecipeError for a model that
    is not compressed, or in a way or a form that no engine here runs.
    """
    folder = job.source
    assert folder is not None
    check_form(folder)
    config = read_config(folder)
    precision, mark, says = claim_of(config.get("quantization_config"))
    with job.progress.step(f"checking {folder.name}"):
        check_files(folder)
        suffix, dtype = MARKS[mark]
        if not any(name.endswith(suffix) and kind == dtype for name, kind in tensors(folder)):
            raise refused(f"config.json says {says}, but no tensor *{suffix} of {dtype} is there")
    with job.progress.step(f"copying {folder.name}"):
        for path in sorted({path for pattern in HUB_FILES for path in folder.glob(pattern)}):
            shutil.copyfile(path, job.out / path.name)
    return MethodResult(precision, "huggingface", f"as published: {says}", ("safetensors",))


def check_form(source: Path) -> None:
    """Raises RecipeError for GGUF, ONNX or an OpenVINO IR, and SourceError for another single file."""
    names = [source.name] if source.is_file() else sorted(path.name for path in source.iterdir())
    given = next((name for name in names if Path(name).suffix in UNSERVED), None)
    if given and (source.is_file() or "config.json" not in names or not any(source.glob("*.safetensors"))):
        form, mend = UNSERVED[Path(given).suffix]
        raise RecipeError(f"{given} is {form}, which no engine here runs for text", field="source.uri", mend=mend)
    if source.is_file():
        raise refused(f"{source.name} is one file")


def read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise refused(f"config.json cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise refused("config.json is not an object")
    return config


def claim_of(given: Any) -> tuple[Precision, str, str]:
    """The precision that a `quantization_config` claims, the key in MARKS of its tensors, and the claim in words.

    Formats: compressed-tensors, GPTQ, AWQ, FP8 and bitsandbytes, as transformers documents them. Raises RecipeError.
    """
    if not isinstance(given, dict):
        mend = "kind: baseline takes it, and kind: quantize compresses it"
        raise RecipeError("the source is not compressed", field="recipe.kind", mend=mend)
    method, bits = given.get("quant_method"), given.get("bits")
    if method == "compressed-tensors":
        return claim_of_groups(given)
    if method in ("gptq", "awq") and bits in (4, 8):
        return (
            ("int4" if bits == 4 else "int8"),
            "qweight",
            f"{method}, {bits} bits, groups of {given.get('group_size')}",
        )
    if method == "fp8":
        return "fp8", "fp8", "fp8"
    if method == "bitsandbytes" and given.get("load_in_8bit"):
        return "int8", "int8", "bitsandbytes, 8 bits"
    if method == "bitsandbytes" and given.get("bnb_4bit_quant_type") == "nf4":
        return "nf4", "nf4", "bitsandbytes, nf4"
    raise unknown(f"quantization {method}" + (f" of {bits} bits" if bits else ""))


def claim_of_groups(given: Mapping[str, Any]) -> tuple[Precision, str, str]:
    """`claim_of` for compressed-tensors: by the group with the fewest bits."""
    groups = given.get("config_groups")
    weights = [group.get("weights") for group in groups.values()] if isinstance(groups, dict) else []
    known = [each for each in weights if isinstance(each, dict) and isinstance(each.get("num_bits"), int)]
    if not known:
        raise unknown("compressed-tensors without groups of weights")
    least = min(known, key=lambda each: each["num_bits"])
    bits, kind, stored = least["num_bits"], least.get("type"), given.get("format")
    says = f"compressed-tensors, {stored}, {kind} of {bits} bits"
    if stored == "pack-quantized" and kind == "int" and bits in (4, 8):
        return ("int4" if bits == 4 else "int8"), "packed", says
    if stored in ("int-quantized", "naive-quantized") and (kind, bits) == ("int", 8):
        return "int8", "int8", says
    if stored in ("float-quantized", "naive-quantized") and (kind, bits) == ("float", 8):
        return "fp8", "fp8", says
    raise unknown(says)


def check_files(folder: Path) -> None:
    """Raises SourceError where weights or tokenizer are missing, or the index names a file that is not there."""
    if not any(folder.glob("*.safetensors")):
        raise refused("there is no .safetensors file; pickles (.bin, .pt) are not loaded")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise refused(f"there is no tokenizer, none of {', '.join(TOKENIZERS)}")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        missing = sorted(
            set(json.loads(index.read_bytes())["weight_map"].values()) - {p.name for p in folder.iterdir()}
        )
        if missing:
            raise refused(f"{index.name} names {missing[0]}, which is not there")


def tensors(folder: Path) -> Iterator[tuple[str, str]]:
    """The name and dtype of every tensor, from the files' headers."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            yield from ((name, entry.dtype) for name, entry in tensor_entries(path).items())
        except ValueError as error:
            raise refused(str(error)) from None


def refused(message: str) -> SourceError:
    return SourceError(message, field="source.uri", mend="give a whole checkpoint in Hugging Face form")


def unknown(what: str) -> RecipeError:
    mend = "compressed-tensors (int4, int8, fp8), GPTQ, AWQ, FP8, or bitsandbytes (nf4, 8 bits)"
    return RecipeError(f"no engine here runs {what}", field="recipe.kind", mend=mend)
