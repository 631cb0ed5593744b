"""What is asked of a pipeline before it draws: its index, a size, the length of a prompt."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import CLIPTokenizer

from variants.errors import InputError, SourceError
from variants.vision import diffusion_pipeline
from variants.vision.diffusion_pipeline import INDEX, Size

SD = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
PIPELINE = SimpleNamespace(
    vae_scale_factor=8,
    unet=SimpleNamespace(config=SimpleNamespace(sample_size=64)),
    components={"tokenizer": CLIPTokenizer(model_max_length=4), "tokenizer_2": None},
)


class Config(dict[str, Any]):
    """A configuration as diffusers has it: by keys and by attributes."""

    __getattr__ = dict.__getitem__


def pipeline(**config: Any) -> SimpleNamespace:
    return SimpleNamespace(vae_scale_factor=8, unet=SimpleNamespace(config=Config(config)))


SD15 = pipeline(sample_size=64, block_out_channels=(320, 640, 1280, 1280))
FLUX = SimpleNamespace(
    vae_scale_factor=8,
    default_sample_size=128,
    transformer=SimpleNamespace(config=Config(patch_size=1)),
)


def test_sizes_are_up_to_the_pipelines_own_in_steps_that_no_layer_rounds() -> None:
    assert (diffusion_pipeline.largest(SD15), diffusion_pipeline.grain(SD15)) == (Size(512, 512), 64)
    assert (diffusion_pipeline.largest(FLUX), diffusion_pipeline.grain(FLUX)) == (Size(1024, 1024), 16)
    oblong = pipeline(sample_size=(64, 96), block_out_channels=(320, 640))
    assert diffusion_pipeline.largest(oblong) == Size(768, 512)
    for text in (None, "auto", "512x512"):
        assert diffusion_pipeline.size_of(SD15, text) == Size(512, 512)
    assert diffusion_pipeline.size_of(SD15, "448x64") == Size(448, 64)
    assert [diffusion_pipeline.smaller(SD15, side) for side in (1, 64, 65, 999)] == [
        Size(64, 64), Size(64, 64), Size(128, 128), Size(512, 512),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["576x512", "512x0", "500x512", "512", "512x512x3", "-64x64", "x", "", "1e3x64", "٦٤x64"]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="512x512, or smaller with sides that are multiples of 64") as refused:
        diffusion_pipeline.size_of(SD15, text)
    assert refused.value.field == "size"


def test_a_prompt_that_would_be_cut_is_refused() -> None:
    diffusion_pipeline.check_prompt(PIPELINE, "a")
    with pytest.raises(InputError, match="of which 4 would be read"):
        diffusion_pipeline.check_prompt(PIPELINE, "a b c d e f")


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ([], "is a None"),
        (SD | {"_class_name": "StableDiffusionControlNetPipeline"}, "is a StableDiffusionControlNetPipeline"),
        (SD | {"_class_name": "AudioLDMPipeline"}, "is a AudioLDMPipeline, which is not served"),
        (SD | {"unet": None}, "without unet or transformer"),
    ],
)
def test_an_index_of_another_kind_is_refused(index: Any, says: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(SourceError, match=says) as refused:
        diffusion_pipeline.read_index(tmp_path, "source.uri")
    assert refused.value.field == "source.uri"


def test_a_pickle_is_refused_unless_it_is_not_read(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps(SD | {"safety_checker": ["a", "b"]}))
    for part in ("unet", "safety_checker", "training"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "weights.bin").write_bytes(b"")
    with pytest.raises(SourceError, match=r"unet/weights\.bin is a pickle"):
        diffusion_pipeline.read_index(tmp_path, "source.uri")
    (tmp_path / "unet" / "weights.safetensors").write_bytes(b"")
    assert diffusion_pipeline.read_index(tmp_path, "source.uri")["unet"]
