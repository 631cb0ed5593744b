"""An OpenVINO IR or an ONNX file of somebody else's, as a variant of the baseline beside it.

The file does not say how its inputs are prepared or what its outputs mean. The baseline does: tokenizer, labels, image
preparation and detector are its. So the inputs, outputs and classes of both are compared, and the file is run once.
What the weights are worth is measured later, by the variant's card.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from variants.artifacts.manifest import Precision
from variants.artifacts.store import Artifact
from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.gauge import runner
from variants.methods.openvino_ir import TOKENIZER, read_f32, write_variant
from variants.methods.published.model_file import file_of, read, reason_of, refused
from variants.methods.published.weights import precision_of
from variants.recipes.recipe import Published

if TYPE_CHECKING:
    import openvino as ov

SEGMENTS = "token_type_ids"
_LENGTH_TOLERANCE = 0.01  # bfloat16 keeps three digits


def published(job: BuildJob[Published]) -> MethodResult:
    """The model in `job.source`, for the tokenizer, labels and image preparation of `job.parent`.

    Raises SourceError where it cannot be read or run. Raises RecipeError where it is not a model of the baseline's
    inputs, outputs and labels, or of a precision that no engine here runs.
    """
    assert job.source is not None
    baseline, parent = read_f32(job.parent)
    with job.progress.step(f"reading {job.source.name}"):
        model = read(job.source)
        precision, says = precision_of(model)
    with job.progress.step("comparing it with its baseline"):
        check_beside(job.source, parent)
        model = fitted(model, baseline)
        if parent.manifest.labels and not parent.manifest.detector:
            check_logits(model)
        check_runs(model, precision, parent)
    return write_variant(job, model, precision, f"as published: {file_of(job.source).name}, {says}")


def check_beside(source: Path, parent: Artifact) -> None:
    """RecipeError where the source's folder has a tokenizer of another vocabulary, or names other labels."""
    tokenizer = source / TOKENIZER
    if tokenizer.is_file() and (parent.model_path / TOKENIZER).is_file():
        from tokenizers import Tokenizer

        theirs = Tokenizer.from_file(str(parent.model_path / TOKENIZER))
        try:
            ours = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # tokenizers raises no other type
            raise refused(f"{TOKENIZER} cannot be read: {error}", "correct or remove it") from None
        if ours.get_vocab() != theirs.get_vocab():
            raise unfit(f"{TOKENIZER} has another vocabulary than the baseline's")
    labels = labels_of(source / "config.json")
    if labels and parent.manifest.labels and labels != parent.manifest.labels:
        raise unfit(f"config.json names the labels {', '.join(labels[:5])}, not those of the baseline in their order")


def labels_of(config: Path) -> tuple[str, ...]:
    """The labels that a configuration of transformers names; none where there is no such file."""
    try:
        names = json.loads(config.read_bytes())["id2label"]
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except (FileNotFoundError, NotADirectoryError, KeyError):
        return ()
    except (ValueError, TypeError) as error:
        raise refused(f"config.json cannot be read: {error}", "correct or remove it") from None


def fitted(model: "ov.Model", baseline: "ov.Model") -> "ov.Model":
    """The model with the baseline's names, shapes and number types at its ends. RecipeError where they do not fit."""
    from openvino.preprocess import PrePostProcessor

    without_segments(model)
    pairs = list(zip(model.inputs, inputs_of(model, baseline), strict=True))
    before = ", ".join(str(port.partial_shape) for port in model.inputs)
    try:
        model.reshape({port: wanted.partial_shape for port, wanted in pairs})
    except RuntimeError as error:
        wanted_shapes = ", ".join(str(wanted.partial_shape) for _, wanted in pairs)
        raise unfit(f"it takes {before}, its baseline {wanted_shapes}: {reason_of(error)}") from error
    if len(model.outputs) != 1 or not alike(model.outputs[0].partial_shape, baseline.outputs[0].partial_shape):
        given = ", ".join(str(port.partial_shape) for port in model.outputs)
        raise unfit(f"it gives {given}, its baseline {baseline.outputs[0].partial_shape}")
    ends = PrePostProcessor(model)
    for place, (_, wanted) in enumerate(pairs):
        ends.input(place).tensor().set_element_type(wanted.element_type)
    ends.output(0).tensor().set_element_type(baseline.outputs[0].element_type)
    names = [*(wanted.any_name for _, wanted in pairs), baseline.outputs[0].any_name]
    model = ends.build()
    for port, name in zip((*model.inputs, *model.outputs), names, strict=True):
        port.get_tensor().set_names({name})
    return model


def without_segments(model: "ov.Model") -> None:
    """Replace an input for the segments of a pair of texts by zeros, in place. The engine sends one text at a time, and
    transformers takes zeros there too."""
    from openvino import opset13 as ops

    inputs = {name: port for port in model.inputs for name in port.names}
    if SEGMENTS not in inputs or "input_ids" not in inputs:
        return
    segments = inputs[SEGMENTS]
    zeros = ops.broadcast(ops.constant(0, segments.element_type), ops.shape_of(inputs["input_ids"]))
    for consumer in segments.get_target_inputs():
        consumer.replace_source_output(zeros.output(0))
    named = segments.get_node().get_friendly_name()
    model.remove_parameter(next(each for each in model.get_parameters() if each.get_friendly_name() == named))


def inputs_of(model: "ov.Model", baseline: "ov.Model") -> list["ov.Output"]:
    """The baseline's input for each of the model's: by name, or the only one. RecipeError where the names differ."""
    if len(model.inputs) == len(baseline.inputs) == 1:
        return list(baseline.inputs)
    wanted = {port.any_name: port for port in baseline.inputs}
    names = [next((name for name in port.names if name in wanted), None) for port in model.inputs]
    if None in names or len({*names}) != len(wanted):
        given = ", ".join(sorted(port.any_name if port.names else "one without a name" for port in model.inputs))
        raise unfit(f"its inputs are {given}, those of its baseline {', '.join(sorted(wanted))}")
    return [wanted[name] for name in names if name is not None]


def alike(shape: "ov.PartialShape", wanted: "ov.PartialShape") -> bool:
    """Whether two shapes have the same rank, and the same dimensions are fixed, to the same length."""
    if shape.rank.is_dynamic or shape.rank != wanted.rank:
        return False
    fixed = [[each.get_length() if each.is_static else None for each in one] for one in (shape, wanted)]
    return fixed[0] == fixed[1]


def check_logits(model: "ov.Model") -> None:
    """RecipeError where the model ends in a softmax: the engine would compute another one of its output."""
    node = model.outputs[0].get_node()
    while node.get_type_name() in ("Result", "Convert"):
        node = node.input_value(0).get_node()
    if node.get_type_name() in ("Softmax", "LogSoftmax"):
        raise unfit("it ends in a softmax, and the engine takes logits", "export it without its last softmax")


def check_runs(model: "ov.Model", precision: Precision, parent: Artifact) -> None:
    """Compute two rows. SourceError where OpenVINO cannot, or numbers are not finite. RecipeError where the vectors of
    embeddings do not have length 1, as those of the baseline."""
    import numpy as np

    shapes = [[each.get_length() if each.is_static else 2 for each in port.partial_shape] for port in model.inputs]
    ones = [np.ones(shape, port.element_type.to_dtype()) for shape, port in zip(shapes, model.inputs, strict=True)]
    try:
        rows = runner(model, precision)(ones)
    except RuntimeError as error:
        raise refused(f"OpenVINO cannot run it: {reason_of(error)}", "another export") from error
    if len(rows) != shapes[0][0]:
        raise unfit(f"it gives {len(rows)} rows for a batch of {shapes[0][0]}", "export it with a dynamic batch")
    if not np.isfinite(rows).all():
        raise refused("it computes numbers that are not finite", "another export")
    if parent.manifest.task == "feature-extraction":
        length = float(np.linalg.norm(rows[0].astype(np.float32)))
        if abs(length - 1) > _LENGTH_TOLERANCE:
            message = f"its vectors have length {length:.3g}, those of its baseline length 1"
            raise unfit(message, "export it with its normalisation")


def unfit(message: str, mend: str = "export the baseline's own model, with a dynamic batch") -> RecipeError:
    return RecipeError(message, field="source.uri", mend=mend)
