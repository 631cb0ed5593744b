"""What the files of a model say about it: its task, its size, its positions, its labels. Reads no weights.

A Hugging Face folder says it in `config.json` and in the headers of its safetensors files, and a GGUF file in its own
metadata. An ONNX detector says it in the shape of its output, and a state dict in the names of its tensors."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve.config.model_folder import heads_of, most_positions, read_config, read_json, text_config
from variants.artifacts.manifest import TaskKind
from variants.artifacts.tensors import tensor_entries
from variants.errors import SourceError
from variants.methods.quiet import quiet_libraries
from variants.vision import diffusion_pipeline
from variants.vision.detector import Detector

FIELD = "SOURCE"
HEADS: Mapping[str, TaskKind] = {
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForSequenceClassification": "text-classification",
    "ForImageClassification": "image-classification",
    "ForObjectDetection": "object-detection",
    "ForMaskedLM": "feature-extraction",
    "Model": "feature-extraction",
}
"""The task of a model by the end of its class's name in transformers."""
FORMS = (
    "a folder as transformers or diffusers writes it, a .gguf file, a YOLOX detector as .onnx, or an image classifier "
    "as .pth"
)


@dataclass(frozen=True)
class ModelFacts:
    """`parameters` is guessed from the files' size where they do not say. `widths` are the inputs of the model's
    matrices. `token_bytes` is the size of one token's keys and values in 16 bits. `side` is the side of a detector's or
    classifier's input in pixels. `detector` says how an ONNX detector is read, `classes` the number of its classes.
    `fixed` names the kind of a model whose matrices are not linear layers, so that most methods refuse it."""

    task: TaskKind
    why: str
    name: str
    parameters: int
    positions: int | None = None
    widths: frozenset[int] = field(default_factory=frozenset)
    token_bytes: int = 0
    labels: tuple[str, ...] = ()
    side: int | None = None
    detector: Detector | None = None
    classes: int = 0
    fixed: str | None = None
    is_encoder: bool = False
    licence: str = "not stated"


def read_model(path: Path) -> ModelFacts:
    """The facts of a local model. Raises SourceError for a form that cannot be served, naming what can."""
    if path.is_dir():
        return of_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".gguf":
        return of_gguf(path)
    if suffix == ".onnx":
        return of_onnx(path)
    if suffix in (".pth", ".pt", ".bin"):
        return of_state_dict(path)
    raise SourceError(f"{path.name} is no model that init knows", field=FIELD, mend=FORMS)


def of_folder(folder: Path) -> ModelFacts:
    if (folder / diffusion_pipeline.INDEX).is_file():
        return of_pipeline(folder)
    config = read_config(folder)
    check_folder(folder, config)
    # sentence-transformers: the folder is an encoder, whatever class its weights were saved from.
    is_sentences = (folder / "modules.json").is_file()
    architectures = config.get("architectures") or ["Model"]
    architecture = str(architectures[0])
    ends = sorted((end for end in HEADS if architecture.endswith(end)), key=len)
    if not ends:
        known = ", ".join(f"...{end}" for end in HEADS)
        raise SourceError(f"{folder} is a {architecture}, which is not served", field=FIELD, mend=f"one of {known}")
    task: TaskKind = "feature-extraction" if is_sentences else HEADS[ends[-1]]
    if task == "feature-extraction" and not is_sentences:
        check_encoder(folder, architecture)
    text = text_config(config)
    shapes = list(shapes_of(folder))
    matrices = [shape for shape in shapes if len(shape) == 2 and shape[0] != text.get("vocab_size")]
    return ModelFacts(
        task=task,
        why="modules.json is of sentence-transformers" if is_sentences else f"config.json names {architecture}",
        name=folder.resolve().name,
        parameters=sum(map(math.prod, shapes)) or pickled(folder),
        positions=most_positions(config),
        widths=frozenset(shape[1] for shape in matrices if min(shape) > 1),
        token_bytes=heads_of(text).cache_bytes,
        labels=labels_of(folder, config),
        side=side_of(folder, config),
        fixed=fixed_kind(text),
        is_encoder=task == "feature-extraction",
        licence=licence_of(folder),
    )


def of_pipeline(folder: Path) -> ModelFacts:
    """A pipeline of diffusers. Its safety checker is not served, and of several precisions the plain files are."""
    with quiet_libraries():
        index = diffusion_pipeline.read_index(folder, FIELD)
    parts = [folder / part for part in index if part != diffusion_pipeline.CHECKER]
    shapes = [shape for part in parts for shape in shapes_of(part, lambda path: "." not in path.stem)]
    return ModelFacts(
        task="image-generation",
        why=f"{diffusion_pipeline.INDEX} names {index['_class_name']}",
        name=folder.resolve().name,
        parameters=sum(map(math.prod, shapes)),
        licence=licence_of(folder),
    )


def pickled(folder: Path) -> int:
    """The number of parameters of a model in pickles, which are not opened: two bytes each."""
    return sum(path.stat().st_size for path in folder.glob("*.bin")) // 2


def labels_of(folder: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels of a classifier in the order of its outputs. Raises SourceError for positions that are no numbers."""
    names = config.get("id2label")
    if not isinstance(names, dict):
        return ()
    if odd := next((key for key in names if not str(key).isdecimal()), None):
        raise SourceError(f"{folder}: id2label in config.json has the position {odd!r}", field=FIELD, mend="a number")
    return tuple(str(names[key]) for key in sorted(names, key=int))


def check_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """SourceError for a folder that is no model with weights of its own, or one that is compressed already."""
    if (folder / "adapter_config.json").is_file():
        raise SourceError(
            f"{folder} is an adapter",
            field=FIELD,
            mend="name its base model, and add this as a variant of kind adapter",
        )
    if not config:
        raise SourceError(f"{folder} has no config.json that can be read", field=FIELD, mend=FORMS)
    if "quantization_config" in config:
        raise SourceError(
            f"{folder} is compressed already",
            field=FIELD,
            mend="name the model that it was made from, and add this as a variant of kind published",
        )


def check_encoder(folder: Path, architecture: str) -> None:
    """SourceError for a model that reads no text: its class alone does not say so."""
    texts = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"))
    if not texts or (folder / "preprocessor_config.json").is_file():
        raise SourceError(f"{folder} is a {architecture}, and no encoder of texts", field=FIELD, mend=FORMS)


def of_gguf(path: Path) -> ModelFacts:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
    except (ValueError, OSError) as error:
        raise SourceError(f"{path} is no GGUF file: {error}", field=FIELD, mend=FORMS) from error

    def value(key: str) -> Any:
        entry = reader.get_field(key)
        said = None if entry is None else entry.contents()
        return max(said) if isinstance(said, list) else said  # some architectures have a figure for each layer

    kind = str(value("general.architecture"))
    heads = int(value(f"{kind}.attention.head_count") or 1)
    head_width = int(value(f"{kind}.attention.key_length") or int(value(f"{kind}.embedding_length") or 0) // heads)
    layers, kv_heads = int(value(f"{kind}.block_count") or 0), int(value(f"{kind}.attention.head_count_kv") or heads)
    blocks = [each for each in reader.tensors if each.name.startswith("blk.") and len(each.shape) == 2]
    parameters = sum(int(each.n_elements) for each in reader.tensors)
    return ModelFacts(
        task="text-generation",
        why=f"a GGUF file of a {kind}",
        name=str(value("general.basename") or path.stem),
        parameters=parameters,
        positions=value(f"{kind}.context_length"),
        widths=frozenset(int(each.shape[0]) for each in blocks),
        token_bytes=2 * 2 * layers * head_width * kv_heads,
        fixed=fixed_kind({"model_type": kind, "num_experts": value(f"{kind}.expert_count")}),
        licence=str(value("general.license") or "not stated"),
    )


def of_onnx(path: Path) -> ModelFacts:
    import openvino as ov

    try:
        model = ov.Core().read_model(path)
        shape = list(model.output(0).get_partial_shape().get_min_shape())
        side = int(model.input(0).get_partial_shape().get_min_shape()[2])
    except (RuntimeError, IndexError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise SourceError(f"{path} is no ONNX model that OpenVINO reads: {reason}", field=FIELD, mend=FORMS) from error
    detector = yolox(side)
    if (
        detector is None or len(model.outputs) != 1 or len(shape) != 3 or shape[1] != detector.places or shape[2] <= 5
    ):  # fmt: skip
        raise SourceError(
            f"{path}: its output {shape} is not that of YOLOX",
            field=FIELD,
            mend="a Hugging Face folder, or write the stack by hand as deploy/stacks/yolox.yaml",
        )
    return ModelFacts(
        task="object-detection",
        why=f"an ONNX model with the output of YOLOX, {shape}",
        name=path.stem,
        parameters=path.stat().st_size // 4,
        side=side,
        detector=detector,
        classes=shape[2] - 5,
    )


def yolox(side: int) -> Detector | None:
    """How YOLOX reads images and writes boxes, as its authors export it. None for a side that it cannot have."""
    try:
        return Detector(
            decoder="yolox", size=(side, side), strides=(8, 16, 32), channels="BGR", pad=114, mean=0, std=1, least=0.01,
            overlap=0.6, most=300,
        )  # fmt: skip
    except ValidationError:
        return None


def of_state_dict(path: Path) -> ModelFacts:
    from variants.methods.image_classification.baseline import SIDE, load
    from variants.tasks.imagenet import LABELS

    model, architecture = load(path)
    return ModelFacts(
        task="image-classification",
        why=f"a state dict of {architecture.name}",
        name=path.stem,
        parameters=sum(each.numel() for each in model.parameters()),
        labels=LABELS,
        side=SIDE,
    )


def shapes_of(folder: Path, is_read: Callable[[Path], bool] = lambda path: True) -> Iterable[tuple[int, ...]]:
    """The shape of each tensor, by the headers of the safetensors files that are read."""
    for path in filter(is_read, sorted(folder.glob("*.safetensors"))):
        try:
            entries = tensor_entries(path)
        except ValueError as error:
            raise SourceError(str(error), field=FIELD, mend="copy the file again") from error
        yield from (entry.shape for entry in entries.values())


def fixed_kind(text: Mapping[str, Any]) -> str | None:
    """Why linear layers hold few of a text model's weights; None where they hold most."""
    if text.get("model_type") in ("gpt2", "gpt_bigcode"):
        return "its matrices are no linear layers"
    if any((text.get(key) or 0) for key in ("num_local_experts", "num_experts", "n_routed_experts")):
        return "the experts hold most of its weights"
    return None


def side_of(folder: Path, config: Mapping[str, Any]) -> int | None:
    """The side in pixels of an image model's input; None where images have no one size."""
    size = read_json(folder / "preprocessor_config.json").get("crop_size") or config.get("image_size")
    if isinstance(size, dict):
        size = size.get("height")
    if isinstance(size, list):
        size = size[0]
    return size if isinstance(size, int) else None


def licence_of(folder: Path) -> str:
    """What the model card's first lines say."""
    card = folder / "README.md"
    said = (
        re.search(r"^license:\s*(\S+)", card.read_text(errors="replace")[:4000], re.MULTILINE)
        if card.is_file()
        else None
    )
    return said[1] if said else "not stated"
