"""A small class-conditional UNet by diffusers, and how it is written: as IR, with its sampler.

It works on folded pictures: 28 x 28 grey pixels become 14 x 14 of 4 channels (space to depth). The widest layers then
take a quarter of the time. The IR takes `sample` f32 [1, 1, side, side], `timestep` f32 [1] and `label` i64 [1]. It
returns `velocity` in the sample's shape; it folds and unfolds inside. It draws one picture at a time: one picture keeps
a core busy, and no picture depends on another request.
"""

from typing import TYPE_CHECKING, Any

from variants.artifacts.store import Artifact
from variants.errors import RecipeError
from variants.methods.openvino_ir import IR, write_ir
from variants.vision.diffusion_pipeline import INDEX, diffusers
from variants.vision.diffusion_sampler import FILE, Sampler

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

PACKAGES = ("torch", "diffusers", "openvino", "safetensors")
SERVED = (*IR, FILE)
FOLDER = "unet"  # diffusers' own form, which can be trained on
INPUTS = ("sample", "timestep", "label")
FOLD = 2
TRAINED_TIMESTEPS = 1000
_GROUPS = 8


def blank(side: int, width: int, deep_width: int, classes: int) -> "nn.Module":
    """A UNet with weights from torch's generator, for pictures of `side` pixels."""
    model: nn.Module = diffusers().UNet2DModel(
        sample_size=side // FOLD,
        in_channels=FOLD**2,
        out_channels=FOLD**2,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        block_out_channels=(width, deep_width),
        layers_per_block=1,
        norm_num_groups=_GROUPS,
        add_attention=False,
        num_class_embeds=classes,
    )
    return model


def of_artifact(artifact: Artifact | None) -> "nn.Module":
    """The UNet of an artifact, in evaluation mode. RecipeError where the artifact holds none that can be trained on."""
    folder = artifact.model_path if artifact else None
    if folder is None or not (folder / FOLDER).is_dir() or (folder / INDEX).is_file():
        raise RecipeError("needs a trained UNet as parent", field="parent", mend="a variant of kind diffusion")
    model: nn.Module = diffusers().UNet2DModel.from_pretrained(folder / FOLDER)
    return model.eval()


def scheduler() -> Any:
    """The noise schedule of training: cosine, with pure noise at its end (Lin et al. 2023, arXiv 2305.08891)."""
    return diffusers().DDIMScheduler(
        num_train_timesteps=TRAINED_TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def sampler(side: int, steps: int) -> Sampler:
    """diffusers' schedule for drawing a picture in `steps` steps."""
    schedule = scheduler()
    schedule.set_timesteps(steps)
    timesteps = tuple(int(timestep) for timestep in schedule.timesteps)
    return Sampler(
        side=side,
        timesteps=timesteps,
        alphas=tuple(float(schedule.alphas_cumprod[timestep]) for timestep in timesteps),
    )


def fold(pictures: "Tensor") -> "Tensor":
    """[n, 1, side, side] to [n, 4, side / 2, side / 2]."""
    from torch.nn import functional

    return functional.pixel_unshuffle(pictures, FOLD)


def save(model: "nn.Module", sampler: Sampler, out: "Path") -> None:
    """Write `model` as IR and its sampler below `out`."""
    import openvino as ov
    import torch
    from torch.nn import functional

    class Velocity(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, sample: torch.Tensor, timestep: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            velocity = self.inner(fold(sample), timestep, class_labels=label, return_dict=False)[0]
            return functional.pixel_shuffle(velocity, FOLD)

    shape = [1, 1, sampler.side, sampler.side]
    example = (torch.zeros(shape), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        converted = ov.convert_model(
            Velocity().eval(),
            example_input=example,
            input=[(shape, ov.Type.f32), ([1], ov.Type.f32), ([1], ov.Type.i64)],
        )
    write_ir(converted, out, (*INPUTS, "velocity"))
    (out / FILE).write_bytes(sampler.to_json())
