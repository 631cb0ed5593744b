"""Checkpoints that somebody else has compressed. They are checked and copied as they are; nothing is converted.

A checkpoint says in `config.json`, below `quantization_config`, how it was compressed. vLLM believes that. So the claim
is compared with the tensors in the files: a wrong one would fail when the engine starts, or answer nonsense. The names
and shapes of all weights, which `config.json` implies, are compared too.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from variants.artifacts.manifest import Precision
from variants.artifacts.tensors import TensorEntry, tensor_entries
from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.huggingface import reading
from variants.methods.text_generation.layers import outline
from variants.recipes.hub import HUB_FILES
from variants.recipes.recipe import Published

INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
MARKS: Mapping[str, tuple[str, str]] = {
    "packed": (".weight_packed", "I32"),
    "int8": (".weight", "I8"),
    "fp8": (".weight", "F8_E4M3"),
    "qweight": (".qweight", "I32"),
    "nf4": (".weight", "U8"),
}
"""The end of a tensor's name and its dtype in safetensors, by how a checkpoint stores its compressed weights."""
UNPACKED = ("F32", "F16", "BF16", "F8_E4M3", "I8")
"""Types in safetensors of which each number is one weight."""
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
        stored = tensors(folder)
        if not any(name.endswith(suffix) and entry.dtype == dtype for name, entry in stored.items()):
            raise refused(f"config.json says {says}, but no tensor *{suffix} of {dtype} is there")
        check_tensors(folder, str(config.get("model_type")), suffix, stored)
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
    missing = sorted(set(index_of(folder).values()) - {path.name for path in folder.iterdir()})
    if missing:
        raise refused(f"{INDEX} names {missing[0]}, which is not there")


def index_of(folder: Path) -> dict[str, str]:
    """The file of each tensor by the checkpoint's index; empty where it has none."""
    path = folder / INDEX
    try:
        given = json.loads(path.read_bytes())["weight_map"] if path.is_file() else {}
        return {str(name): str(file) for name, file in given.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise refused(f"{INDEX} cannot be read: {error!r}") from None


def tensors(folder: Path) -> dict[str, TensorEntry]:
    """Every tensor by name, from the files' headers. SourceError where the index names one that its file lacks."""
    stored: dict[str, TensorEntry] = {}
    wanted = index_of(folder)
    for path in sorted(folder.glob("*.safetensors")):
        try:
            entries = tensor_entries(path)
        except ValueError as error:
            raise refused(str(error)) from None
        lacking = sorted(name for name, file in wanted.items() if file == path.name and name not in entries)
        if lacking:
            raise refused(f"{path.name} has no {lacking[0]}, which {INDEX} names there")
        stored |= entries
    return stored


def check_tensors(folder: Path, kind: str, suffix: str, stored: Mapping[str, TensorEntry]) -> None:
    """Raises SourceError where `stored` lacks a weight that config.json asks for, or has it in another shape.

    A weight may be compressed: then a tensor that ends in `suffix` has its place. Models that transformers does not
    know, or whose tensors it renames, are left to the engine.
    """
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or get_checkpoint_conversion_mapping(kind):
        return
    with reading(folder, "a configuration"):
        model = outline(folder)
    file = INDEX if (folder / INDEX).is_file() else " or ".join(sorted(p.name for p in folder.glob("*.safetensors")))
    for name, parameter in model.named_parameters():
        entry = stored.get(name)
        if entry is None and name.removesuffix(".weight") + suffix not in stored:
            raise refused(f"{file} has no weights for {name}")
        if entry and entry.dtype in UNPACKED and entry.shape != tuple(parameter.shape):
            wanted = list(parameter.shape)
            raise refused(f"{file} has {name} as {list(entry.shape)}, and config.json says {wanted}")


def refused(message: str) -> SourceError:
    return SourceError(message, field="source.uri", mend="give a whole checkpoint in Hugging Face form")


def unknown(what: str) -> RecipeError:
    mend = "compressed-tensors (int4, int8, fp8), GPTQ, AWQ, FP8, or bitsandbytes (nf4, 8 bits)"
    return RecipeError(f"no engine here runs {what}", field="recipe.kind", mend=mend)
