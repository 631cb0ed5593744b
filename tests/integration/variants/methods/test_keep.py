"""`keep: auto` of the OpenVINO families: a layer that int8 ruins is found, and stays in bfloat16."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.serve.engines.tiny_encoder import make_classifier, make_encoder
from tests.integration.variants.conftest import job
from tests.support.long import long_only
from tests.support.planted import plant
from tests.support.scripted import make_artifact
from variants.artifacts.manifest import TaskKind
from variants.artifacts.store import Artifact
from variants.build.loss import measure
from variants.errors import RecipeError
from variants.home import home, sources_of
from variants.methods import nncf_quantize
from variants.methods.base import BuildJob, MethodResult
from variants.methods.detection import network
from variants.methods.gauge import Gauge, Run, denoiser
from variants.methods.image_generation import unet
from variants.methods.registry import find
from variants.tasks import Tasks
from variants.tasks.mnist import Mnist
from variants.tasks.task_file import TaskFile
from variants.vision.diffusion_sampler import Sampler
from variants.vision.preprocess import Preprocess, pixels_of

pytestmark = pytest.mark.integration
BASELINE = {"kind": "baseline", "dtype": "float32"}
MOST = 0.3
"""Random models are unsure of all that they answer, so int8 changes many answers of theirs in any case."""
LABELS = tuple("0123456789")


def keep(task: str, examples: int = 24, most: float = MOST) -> dict[str, Any]:
    calibration = {"task": task, "examples": examples}
    return {"kind": "quantize", "scheme": "int8", "keep": "auto", "calibration": calibration, "most_loss": most}


def own_texts(folder: Path) -> Tasks:
    """Passages of the tiny encoder's words."""
    draw = np.random.default_rng(0)
    with (folder / "rows.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["text"])
        rows.writerows([" ".join(f"w{word}" for word in draw.integers(1, 60, 12))] for _ in range(400))
    definition = {"data": {"uri": str(folder / "rows.csv")}, "input": "{{ text }}", "scorer": "passage"}
    return Tasks({"own": TaskFile.model_validate(definition)})


def planted(model: Any, folder: Path, maker: str, taker: str) -> str:
    """Plant a ruin in the last linear layer whose name ends in `taker`; its name. Its outputs matter more than those of
    random weights would."""
    import torch

    layers = dict(model.named_modules())
    name = [name for name in layers if name.endswith(taker) and ".attention." not in name][-1]
    with torch.no_grad():
        layers[name].weight *= 40
    plant([layers[name.removesuffix(taker) + maker]], layers[name])
    model.save_pretrained(folder)
    return name


def in_form(tmp_path: Path, task: TaskKind, made: MethodResult, folder: Path) -> Artifact:
    """What a method made, as the builder hands it to the next."""
    artifact = make_artifact(tmp_path / "store", "made", "parent", task)
    fields = {name: getattr(made, name) for name in ("precision", "format", "labels", "preprocess", "detector")}
    return Artifact(folder.parent, artifact.manifest.model_copy(update=fields))


def kept_of(task: TaskKind, given: BuildJob, ruined: str) -> tuple[str, ...]:
    """The kept layers, after the checks that all families share."""
    made = find(task, given.recipe).run(given)
    assert made.kept is not None
    assert any(ruined in name for name in made.kept.layers), made.kept.layers
    assert made.kept.weights_share < 0.7
    loss, told = measure(task, given, made)
    assert loss is not None
    assert loss.lost <= given.recipe.most_loss < loss.parent - made.kept.variant
    assert f"{len(made.kept.layers)} layer" in told
    return made.kept.layers


def bf16_layers(folder: Path) -> int:
    import openvino as ov

    model = ov.Core().read_model(folder / "model.xml")
    return sum(
        node.get_element_type() == ov.Type.bf16 for node in model.get_ops() if node.get_type_name() == "Constant"
    )


def test_a_classifier_of_images(tiny_vit: Path, tmp_path: Path) -> None:
    import torch
    from transformers import ViTForImageClassification, ViTImageProcessor

    source = tmp_path / "source"
    model: Any = ViTForImageClassification.from_pretrained(tiny_vit)
    ViTImageProcessor.from_pretrained(tiny_vit).save_pretrained(source)
    ruined = planted(model, source, *vit_names(model))
    images = [each.input for each in Mnist(home()).examples("calibration", 40) if isinstance(each.input, bytes)]
    pixels = [pixels_of(image, Preprocess(size=(32, 32), mean=(127.5,) * 3, std=(127.5,) * 3)) for image in images]
    balance(model, model.eval()(torch.from_numpy(np.stack(pixels))).logits)
    model.save_pretrained(source)
    given = with_sources(job(BASELINE, tmp_path / "parent" / "model", source))
    parent = in_form(tmp_path, "image-classification", find("image-classification", given.recipe).run(given), given.out)
    given = with_sources(job(keep("mnist"), tmp_path / "out" / "model", None, parent))
    kept = kept_of("image-classification", given, ruined)
    assert bf16_layers(given.out) == len(kept)


def vit_names(model: Any) -> tuple[str, str]:
    """The last parts of the names of a layer's two feed-forward matrices."""
    names = [name for name, _ in model.named_modules()]
    return ("fc1", "fc2") if any(name.endswith("fc2") for name in names) else ("intermediate.dense", "output.dense")


def attend(model: Any) -> None:
    """Have tokens take over more of each other than random weights would: the class is read off the first alone."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("value.weight", "attention.output.dense.weight")):
                weight *= 15


def balance(model: Any, logits: Any) -> None:
    """Take the mean of `logits` off the head's bias: a random head would name one class for all examples."""
    import torch

    with torch.no_grad():
        model.classifier.bias -= logits.mean(0)


def with_sources(given: BuildJob) -> BuildJob:
    """The job, with the project's own data in its home."""
    given.home.mkdir(exist_ok=True)
    if not (given.home / "sources").exists():
        (given.home / "sources").symlink_to(sources_of(home()))
    return given


@pytest.mark.parametrize("task", ["text-classification", "feature-extraction"])
def test_an_encoder_of_texts(task: TaskKind, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    (tmp_path / "source").mkdir()
    classifies = task == "text-classification"
    folder = (make_classifier if classifies else make_encoder)(tmp_path / "source")
    family: Any = AutoModelForSequenceClassification if classifies else AutoModel
    tasks, model = own_texts(tmp_path), family.from_pretrained(folder).eval()
    attend(model)
    ruined = planted(model, folder, "intermediate.dense", "output.dense")
    if classifies:
        texts = [str(example.input) for example in tasks.get("own").examples("calibration", 20)]
        ids: Any = AutoTokenizer.from_pretrained(folder)(texts, return_tensors="pt", return_token_type_ids=False)
        balance(model, model(**ids).logits)
        model.save_pretrained(folder)
    given = job(BASELINE, tmp_path / "parent" / "model", folder)
    parent = in_form(tmp_path, task, find(task, given.recipe).run(given), given.out)
    most = MOST if classifies else 0.05
    given = replace(job(keep("own", most=most), tmp_path / "out" / "model", None, parent), tasks=tasks)
    kept = kept_of(task, given, ruined)
    assert bf16_layers(given.out) == len(kept)


def random_detector(tmp_path: Path) -> Artifact:
    """A random detector that answers boxes everywhere, with a ruin in its fifth layer."""
    import torch

    torch.manual_seed(0)
    model: Any = network.blank((16, 32, 32, 32, 32, 32, 32), 10)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight *= 2.5
        model[-1].bias[:10] = 0
    plant([model[9]], model[12])
    folder = tmp_path / "parent" / "model"
    folder.mkdir(parents=True)
    network.save(model, network.describe(96), folder)
    form = MethodResult("f32", "openvino", "", (), LABELS, detector=network.describe(96))
    return in_form(tmp_path, "object-detection", form, folder)


def test_a_detector(tmp_path: Path) -> None:
    parent = random_detector(tmp_path)
    given = with_sources(job(keep("mnist"), tmp_path / "out" / "model", None, parent))
    assert len(kept_of("object-detection", given, "Multiply")) == 1, "OpenVINO names a layer with its norm so"


def test_a_limit_that_no_kept_layer_holds_is_told(tmp_path: Path) -> None:
    parent = random_detector(tmp_path)
    recipe = keep("mnist", most=0)
    given = with_sources(job(recipe, tmp_path / "out" / "model", None, parent))
    with pytest.raises(
        RecipeError, match=r"loses [\d.]+ points on 100 calibration examples of mnist.* within 0 points"
    ):
        find("object-detection", given.recipe).run(given)


def random_generator(tmp_path: Path) -> Artifact:
    """A random UNet with a ruin in its first block."""
    import torch

    torch.manual_seed(0)
    model: Any = unet.blank(28, 32, 32, 10)
    block = model.mid_block.resnets[0]
    with torch.no_grad():
        block.conv2.weight *= 100
    plant([block.conv1, block.time_emb_proj], block.conv2)
    folder = tmp_path / "parent" / "model"
    folder.mkdir(parents=True)
    unet.save(model.eval(), unet.sampler(28, 4), folder)
    return in_form(tmp_path, "image-generation", MethodResult("f32", "openvino", "", (), LABELS), folder)


def pictures_alike(parent: Artifact) -> Callable[..., Gauge]:
    """A measure for a generator that draws no digits: the cosine of its pictures to its parent's."""
    sampler = Sampler.of_folder(parent.model_path)

    def answers(run: Run) -> list[np.ndarray]:
        drawn = [list(sampler.steps(denoiser(run), seed % 10, seed))[-1][0].ravel() for seed in range(12)]
        return [picture / np.linalg.norm(picture) for picture in drawn]

    return lambda *_: Gauge("cosine", "digit_prompts", 12, answers, lambda a, b: float(a @ b))


@long_only
def test_a_generator_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = random_generator(tmp_path)
    monkeypatch.setattr(nncf_quantize, "gauge_of", pictures_alike(parent))
    given = with_sources(job(keep("digit_prompts", 4, 0.05), tmp_path / "out" / "model", None, parent))
    made = find("image-generation", given.recipe).run(given)
    assert made.kept is not None
    assert any("mid_block.resnets.0.conv2" in name for name in made.kept.layers)
    assert len(made.kept.layers) < 10
