"""Tiny random models of many architectures, saved as the hub would have them. What they say is noise; how they are
built, served and answered is not. vLLM's attention takes heads of 32 numbers or more on a CPU."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from loadtest.benchmarks.architectures.methods import SIDE
from variants.artifacts.manifest import TaskKind

SCENE = 64
"""Pixels of the height and width of an image that a detector sees."""
SIZES: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.1,
}  # fmt: skip
_DECODER = SIZES | {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_HEADS_OF_64 = _DECODER | {"head_dim": 64}
_GPT: dict[str, Any] = {
    "hidden_size": 128, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.1,
}  # fmt: skip
_ENCODER = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"} | {"pad_token_id": 1}
_LABELS: dict[str, Any] = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
_BACKBONE: dict[str, Any] = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1],
    "layer_type": "basic", "out_features": ["stage4"],
}  # fmt: skip
_END, _SPACE = "<|endoftext|>", "\u0120"
_QUERIES = ("detection_tokens", "position_embedding", "query_position")


@dataclass(frozen=True)
class Architecture:
    """`kind` is the model's class in transformers; `config` has its configuration's arguments."""

    name: str
    task: TaskKind
    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)


def _texts(name: str, kind: str, **config: Any) -> Architecture:
    return Architecture(name, "text-generation", kind, config)


ARCHITECTURES = (
    _texts("Llama", "LlamaForCausalLM", **_DECODER),
    _texts("GPT-2", "GPT2LMHeadModel", n_positions=256, **_GPT),
    _texts("Bloom", "BloomForCausalLM", **_GPT),
    _texts("Phi-3", "Phi3ForCausalLM", original_max_position_embeddings=256, **_DECODER),
    _texts("Qwen2", "Qwen2ForCausalLM", **_DECODER),
    _texts("Qwen3", "Qwen3ForCausalLM", **_HEADS_OF_64),
    _texts("Gemma 2", "Gemma2ForCausalLM", query_pre_attn_scalar=64, **_HEADS_OF_64),
    _texts("Gemma 3", "Gemma3ForCausalLM", query_pre_attn_scalar=64, **_HEADS_OF_64),
    _texts("Mistral", "MistralForCausalLM", **_HEADS_OF_64),
    _texts("Mixtral", "MixtralForCausalLM", num_local_experts=4, num_experts_per_tok=2, **_HEADS_OF_64),
    _texts("SmolLM3", "SmolLM3ForCausalLM", **_DECODER),
    _texts("GPT-NeoX", "GPTNeoXForCausalLM", **_DECODER),
    _texts("OPT", "OPTForCausalLM", ffn_dim=256, word_embed_proj_dim=128, do_layer_norm_before=True, **_DECODER),
    Architecture("BERT", "text-classification", "BertForSequenceClassification", _ENCODER | _LABELS),
    Architecture("RoBERTa", "text-classification", "RobertaForSequenceClassification", _ENCODER | _LABELS),
    Architecture(
        "DistilBERT",
        "text-classification",
        "DistilBertForSequenceClassification",
        {"dim": 128, "hidden_dim": 256, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 256} | _LABELS,
    ),
    Architecture("MPNet", "text-classification", "MPNetForSequenceClassification", _ENCODER | _LABELS),
    Architecture("ModernBERT", "text-classification", "ModernBertForSequenceClassification", _ENCODER | _LABELS),
    Architecture("BERT encoder", "feature-extraction", "BertModel", _ENCODER),
    Architecture("MPNet encoder", "feature-extraction", "MPNetModel", _ENCODER),
    Architecture(
        "ViT",
        "image-classification",
        "ViTForImageClassification",
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
        | {"image_size": SIDE, "patch_size": 8}
        | _LABELS,
    ),
    Architecture(
        "ResNet",
        "image-classification",
        "ResNetForImageClassification",
        {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"} | _LABELS,
    ),
    Architecture(
        "ConvNeXt",
        "image-classification",
        "ConvNextForImageClassification",
        {"hidden_sizes": [16, 32, 32, 32], "depths": [1, 1, 1, 1], "patch_size": 2} | _LABELS,
    ),
    Architecture(
        "Swin",
        "image-classification",
        "SwinForImageClassification",
        {"image_size": SIDE, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}
        | {"window_size": 4}
        | _LABELS,
    ),
    Architecture(
        "DETR",
        "object-detection",
        "DetrForObjectDetection",
        {"backbone": None, "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone_config": _BACKBONE}
        | {"d_model": 32, "num_queries": 10, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 64}
        | {"decoder_ffn_dim": 64, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        | _LABELS,
    ),
    Architecture(
        "YOLOS",
        "object-detection",
        "YolosForObjectDetection",
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
        | {"image_size": [SCENE, SCENE], "patch_size": 16, "num_detection_tokens": 10}
        | {"use_mid_position_embeddings": False}
        | _LABELS,
    ),
)


def write(architecture: Architecture, folder: Path) -> Path:
    """A random model, and its tokenizer or image processor, below `folder`."""
    import torch
    import transformers

    kind = getattr(transformers, architecture.kind)
    config = dict(architecture.config)
    if architecture.task in _SIDES:
        folder.mkdir(parents=True)
        side = _SIDES[architecture.task]
        processor = _PROCESSOR | {"size": {"height": side, "width": side}}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    else:
        tokenizer = _tokenizer(around=architecture.task != "text-generation")
        tokenizer.save_pretrained(folder)
        config["vocab_size"] = len(tokenizer)
    torch.manual_seed(0)
    model = kind(kind.config_class(**config)).eval()
    if architecture.task == "object-detection":
        _spread(model)
    model.save_pretrained(folder)
    return folder


def _spread(model: Any) -> None:
    """Weights that keep the size of what passes: as transformers draws them, all queries give one box."""
    import torch

    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.ndim > 1:
                queries = any(part in name for part in _QUERIES)
                values.normal_(0, 1.0 if queries else (2 / values[0].numel()) ** 0.5)


_SIDES = {"image-classification": SIDE, "object-detection": SCENE}
_PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "do_rescale": True, "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "rescale_factor": 1 / 255, "resample": 2,
}  # fmt: skip


def _tokenizer(around: bool) -> Any:
    """One token a byte; with `around`, `<s>` and `</s>` around each text, as encoders have them. Without, a space and
    the letter after it are one token, so that the labels of a task do not all begin with the same."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>"] if around else [_END]
    merges = [] if around else [(_SPACE, letter) for letter in ascii_lowercase]
    names = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    vocabulary = {name: place for place, name in enumerate(names)}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(special)
    if not around:
        return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=_END)
    ends = [(name, vocabulary[name]) for name in ("<s>", "</s>")]
    plain.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=plain, model_max_length=128, **named)
