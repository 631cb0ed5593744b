"""Packs the layers of a quantized model one after the other, and writes them file by file.

llmcompressor's own `save_pretrained` packs all layers in memory before it writes: with the parent's files, which stay
mapped, that was 1.8 times the model's bf16 bytes. Here one file's layers are in memory. The packing itself is
compressed-tensors' (`BaseCompressor.compress`), so the tensors are the same. A file is written beside the artifact and
renamed when it is whole, so a build that was interrupted goes on after the last one.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.artifacts.loss import Kept, Loss
from variants.artifacts.tensors import tensor_entries
from variants.document import Document, canonical_sha256
from variants.files import fsync, write_atomic
from variants.machine import versions
from variants.methods.base import BuildJob
from variants.methods.examples import named_tasks
from variants.progress import Progress
from variants.recipes.recipe import Quantize

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

FILE_BYTES = 2**29
"""Of the unpacked layers of one file."""
_OUTCOME = "outcome.json"


class Outcome(Document):
    """What was found of a quantized model before it is written."""

    loss: Loss | None
    kept: Kept | None


class Unfinished:
    """What is finished of a quantization whose build was interrupted: its outcome, then its files. It counts only for
    the same recipe, tasks and libraries."""

    def __init__(self, job: BuildJob[Quantize], packages: tuple[str, ...]) -> None:
        own = job.tasks.own
        of = {
            "recipe": job.recipe.canonical_sha256(),
            "tasks": {name: own[name].canonical_sha256() if name in own else None for name in named_tasks(job)},
            "versions": versions(("understudy", *packages)),
        }
        root = job.unfinished or job.out.with_name(".unfinished")
        self.folder = root / canonical_sha256(of)

    def outcome(self) -> Outcome | None:
        """What was noted; None where no build came that far."""
        file = self.folder / _OUTCOME
        return Outcome.from_json(file.read_bytes(), str(file)) if file.exists() else None

    def begin(self, loss: Loss | None, kept: Kept | None) -> None:
        """Note the outcome of a model that is written next. Files of another one, and of other libraries, are
        removed."""
        if self.folder.parent.exists():
            shutil.rmtree(self.folder.parent)
        write_atomic(self.folder / _OUTCOME, Outcome(loss=loss, kept=kept).to_json())


def write_packed(model: "PreTrainedModel", out: Path, finished: Path, progress: Progress) -> None:
    """Write the weights and the configuration of `model`, quantized by llmcompressor in memory, below `out`. Files that
    are in `finished` already are taken as they are; new ones are made there."""
    from compressed_tensors.utils.safetensors_load import update_safetensors_index

    layers = _layers(model)
    files = list(_files(layers))
    finished.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    with progress.step("packing layer by layer", total=len(layers)) as step:
        done = 0
        for number, names in enumerate(files, 1):
            of_several = f"model-{number:05}-of-{len(files):05}.safetensors"
            file = finished / (of_several if len(files) > 1 else "model.safetensors")
            if not file.exists():
                tensors: dict[str, Tensor] = {}
                for count, name in enumerate(names):
                    step.to(done + count)
                    tensors |= _packed(model.get_submodule(name), name, layers[name])
                _write(tensors, file)
            done += len(names)
            written |= dict.fromkeys(tensor_entries(file), file.name)
    total = sum((finished / name).stat().st_size for name in set(written.values()))
    for name in set(written.values()):
        os.link(finished / name, out / name)  # it stays there until the artifact is kept
    if len(files) > 1:
        update_safetensors_index(out, total, written)
    _write_configuration(model, out)


def _layers(model: "PreTrainedModel") -> "dict[str, dict[str, Tensor]]":
    """The tensors of each module by their names in it, by the module's name. Of tensors that are shared, the first."""
    from compressed_tensors.offload import disable_onloading

    layers: dict[str, dict[str, Tensor]] = {}
    seen: set[int] = set()
    with disable_onloading():  # llmcompressor moves a tensor to a GPU when it is read
        state = model.state_dict()
    for name, tensor in state.items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue
        seen.add(tensor.data_ptr())
        layer, _, own = name.rpartition(".")
        layers.setdefault(layer, {})[own] = tensor
    return layers


def _files(layers: "dict[str, dict[str, Tensor]]") -> Iterator[list[str]]:
    """The names of the modules of each file, in the model's order."""
    names: list[str] = []
    size = 0
    for name, tensors in layers.items():
        own = sum(tensor.nbytes for tensor in tensors.values())
        if names and size + own > FILE_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += own
    yield names


def _packed(module: Any, name: str, tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """A module's tensors as they are stored, by their names in the model."""
    from compressed_tensors.compressors import BaseCompressor

    if (form := _form(module)) is not None:
        packer = BaseCompressor.get_value_from_registry(form.value)
        tensors = packer.compress(tensors, module.quantization_scheme)
    return {f"{name}.{own}" if name else own: tensor.detach().contiguous() for own, tensor in tensors.items()}


def _form(module: Any) -> Any:
    """The compressed-tensors format of a quantized module; None for any other."""
    from compressed_tensors.compressors.format import infer_module_format

    scheme = getattr(module, "quantization_scheme", None)
    return None if scheme is None else infer_module_format(type(module), scheme)


def _write(tensors: "dict[str, Tensor]", file: Path) -> None:
    from safetensors.torch import save_file

    half = file.with_suffix(".half")
    save_file(tensors, half, {"format": "pt"})
    half.chmod(0o644)
    fsync(half)
    half.rename(file)


def _write_configuration(model: "PreTrainedModel", out: Path) -> None:
    """As `save_pretrained` does."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationStatus

    modules: Iterable[Any] = model.modules()
    for module in modules:
        if (form := _form(module)) is not None:
            module.quantization_scheme.format = form
    model.config.dtype = model.dtype
    model.config.save_pretrained(out)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.save_pretrained(out)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.quantization_config.quantization_status = QuantizationStatus.COMPRESSED
    compressor.update_config(str(out))
