"""The denoiser of a diffusers pipeline as OpenVINO IR: converted from torch, and put back into its pipeline.

A pipeline calls its denoiser with arguments that differ between pipelines, and may nest tensors in mappings. The IR has
one input a tensor, named by its path: `sample`, `added_cond_kwargs.time_ids`. What is no tensor is fixed at conversion.
"""

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.errors import RecipeError, SourceError
from variants.vision import diffusion_pipeline

if TYPE_CHECKING:
    import openvino as ov
    import torch

FILES = ("model.xml", "model.bin")
GROUP = 32
"""Neighbouring activations that share a scale, as in the other dynamic int8 models."""
Arguments = Mapping[str, Any]


def tensors_in(arguments: Arguments, prefix: str = "") -> "Iterator[tuple[str, torch.Tensor]]":
    """Every tensor by its path, in the arguments' order."""
    import torch

    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, Mapping):
            yield from tensors_in(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(each, torch.Tensor) for each in value):
            message = f"its denoiser takes a list of tensors ({prefix}{name}), which is not converted"
            raise RecipeError(message, field="parent", mend="leave int8 out for this pipeline")


def with_tensors(arguments: Arguments, tensors: "Iterator[torch.Tensor]") -> dict[str, Any]:
    """The arguments with other tensors in place of theirs."""
    import torch

    def other(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return next(tensors)
        return with_tensors(value, tensors) if isinstance(value, Mapping) else value

    return {name: other(value) for name, value in arguments.items()}


def bound(signature: inspect.Signature, args: tuple[Any, ...], kwargs: Arguments) -> dict[str, Any]:
    """The arguments of a call by their names, without `return_dict`."""
    arguments = dict(signature.bind(*args, **kwargs).arguments)
    arguments.pop("return_dict", None)
    return arguments


def recorded(pipeline: Any) -> dict[str, Any]:
    """The arguments of the denoiser's first call for a small picture."""
    _, denoiser = diffusion_pipeline.denoiser_of(pipeline)
    signature, calls = inspect.signature(denoiser.forward), []

    def record(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(bound(signature, args, kwargs))

    hook = denoiser.register_forward_pre_hook(record, with_kwargs=True)
    try:
        small = diffusion_pipeline.smaller(pipeline, diffusion_pipeline.LEAST_SIDE)
        diffusion_pipeline.draw(pipeline, "a", 0, small, steps=2)
    finally:
        hook.remove()
    return calls[0]


def convert(denoiser: Any, arguments: Arguments) -> "ov.Model":
    """The denoiser as a model whose inputs are named by the paths of its tensors. Batch and sides may vary.

    RecipeError where it cannot be traced.
    """
    import openvino as ov
    import torch

    named = dict(tensors_in(arguments))

    class Positional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.denoiser = denoiser

        def forward(self, *tensors: torch.Tensor) -> Any:
            given = with_tensors(arguments, iter(tensors))
            return self.denoiser(**given, return_dict=False)[0]

    try:
        with torch.no_grad():
            model = ov.convert_model(Positional().eval(), example_input=tuple(named.values()))
    except Exception as error:  # torch's tracing and OpenVINO's conversion may raise anything
        reason = " ".join(str(error).split())[:300]
        raise RecipeError(f"OpenVINO cannot convert its denoiser: {reason}", field="parent") from error
    if len(model.inputs) != len(named):
        message = f"OpenVINO kept {len(model.inputs)} of the {len(named)} inputs of its denoiser"
        raise RecipeError(message, field="parent", mend="leave int8 out for this pipeline")
    for port, name in zip(model.inputs, named, strict=True):
        port.get_tensor().set_names({name})
    return model


def read(folder: Path, field: str, threads: int) -> Any:
    """The pipeline in `folder` with its denoiser as IR, compiled for dynamic int8, all else in float32.

    SourceError where a part is missing or cannot be read.
    """
    index = diffusion_pipeline.read_index(folder, field)
    name = next(each for each in diffusion_pipeline.DENOISERS if diffusion_pipeline.has_part(index, each))
    denoiser = without_weights(index[name][1], folder / name, field)
    denoiser.forward = CompiledDenoiser(folder / name / FILES[0], inspect.signature(denoiser.forward), field, threads)
    return diffusion_pipeline.read(folder, "float32", field, **{name: denoiser})


def without_weights(class_name: str, folder: Path, field: str) -> Any:
    """A denoiser whose weights are zeros that take no memory: pipelines read its configuration and its shapes."""
    import torch

    kind = getattr(diffusion_pipeline.diffusers(), class_name)
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder}: its config.json cannot be read: {error}", field=field) from None
    with torch.device("meta"):
        denoiser = kind.from_config(config)
    for module in denoiser.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    zeros = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
                    is_weight = isinstance(tensor, torch.nn.Parameter)
                    tensors[name] = torch.nn.Parameter(zeros, requires_grad=False) if is_weight else zeros
    return denoiser.eval()


class CompiledDenoiser:
    """A denoiser's `forward` by OpenVINO, on `threads` threads, in float32 where weights are not in 8 bits."""

    def __init__(self, path: Path, signature: inspect.Signature, field: str, threads: int) -> None:
        import openvino as ov

        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP,
        }
        try:
            self.compiled = ov.Core().compile_model(path, "CPU", settings)
        except RuntimeError as error:
            raise SourceError(f"OpenVINO cannot load {path}: {error}", field=field, mend="build it again") from None
        self.request = self.compiled.create_infer_request()
        self.signature = signature

    def __call__(self, *args: Any, **kwargs: Any) -> "tuple[torch.Tensor]":
        import numpy as np
        import torch

        given = dict(tensors_in(bound(self.signature, args, kwargs)))
        inputs = {port.any_name: given[port.any_name].numpy() for port in self.compiled.inputs}
        return (torch.from_numpy(np.array(self.request.infer(inputs)[0])),)
