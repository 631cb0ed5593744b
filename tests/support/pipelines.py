"""Tiny pipelines of diffusers with random weights, saved as the hub would have them: 64 x 64 pixels, sides of 4."""

import string
from pathlib import Path
from typing import Any, Literal

Kind = Literal["sd", "xl"]
LORA = "pytorch_lora_weights.safetensors"


def write_pipeline(folder: Path, kind: Kind = "sd", width: int = 32) -> Path:
    """A Stable Diffusion or Stable Diffusion XL pipeline. `width` is that of the texts' embeddings."""
    import diffusers
    import torch
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    parts: dict[str, Any] = {"vae": autoencoder(), "tokenizer": tokenizer()}
    if kind == "sd":
        parts |= {"text_encoder": CLIPTextModel(text_config(width)), "unet": unet(width)}
        parts["scheduler"] = diffusers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
        )
        beside = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = diffusers.StableDiffusionPipeline(**parts, **beside)
    else:
        more = {
            "addition_embed_type": "text_time", "addition_time_embed_dim": 8, "use_linear_projection": True,
            "projection_class_embeddings_input_dim": 6 * 8 + width, "transformer_layers_per_block": (1, 2),
        }  # fmt: skip
        parts |= {"text_encoder": CLIPTextModel(text_config(width)), "tokenizer_2": tokenizer()}
        parts |= {
            "text_encoder_2": CLIPTextModelWithProjection(text_config(width)),
            "unet": unet(2 * width, **more),
            "scheduler": diffusers.EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1),
        }
        pipeline = diffusers.StableDiffusionXLPipeline(**parts)
    pipeline.save_pretrained(folder)
    return folder


def unet(width: int, **more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=32, block_out_channels=(32, 64), layers_per_block=1, attention_head_dim=8,
        cross_attention_dim=width, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **more,
    )  # fmt: skip


def autoencoder() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(32, 64), latent_channels=4, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip


def text_config(width: int) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=100, hidden_size=width, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=77, projection_dim=width, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip


def tokenizer() -> Any:
    """A letter a token."""
    from transformers import CLIPTokenizer

    words = ["<|startoftext|>", "<|endoftext|>"]
    for letter in string.ascii_lowercase + string.digits + ",.":
        words += [letter, f"{letter}</w>"]
    return CLIPTokenizer(vocab={word: at for at, word in enumerate(words)}, merges=[], model_max_length=77)


def write_lora(folder: Path, base: Path, rank: int = 4) -> Path:
    """An adapter of the attention in the UNet and in the text encoder, as diffusers' training scripts save it."""
    import torch
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipeline: Any = StableDiffusionPipeline.from_pretrained(base)
    pipeline.unet.add_adapter(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["to_q", "to_v", "conv1"]))
    pipeline.text_encoder.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=["q_proj"]))
    torch.manual_seed(1)
    layers = {}
    for part in ("unet", "text_encoder"):
        module = getattr(pipeline, part)
        for name, weight in module.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
        layers[part] = get_peft_model_state_dict(module)
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=layers["unet"], text_encoder_lora_layers=layers["text_encoder"],
        unet_lora_adapter_metadata=pipeline.unet.peft_config["default"].to_dict(),
        text_encoder_lora_adapter_metadata=pipeline.text_encoder.peft_config["default"].to_dict(),
    )  # fmt: skip
    return folder
