"""Tiny random models of several makes, with tokenizers of one byte a token, saved as the hub would have them."""

from pathlib import Path
from typing import Any

END = "<|endoftext|>"
SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
LABELS: dict[str, Any] = {
    "num_labels": 3,
    "id2label": {0: "a", 1: "b", 2: "c"},
    "label2id": {"a": 0, "b": 1, "c": 2},
}


def byte_tokens(*special: str, around: tuple[str, str] | None = None, **named: Any) -> Any:
    """A fast tokenizer: `special` first, then the 256 bytes. `around` stands before and after each text; `named` are
    arguments of `PreTrainedTokenizerFast`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {name: place for place, name in enumerate(names)}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(list(special))
    if around:
        ends = [(name, vocabulary[name]) for name in around]
        plain.post_processor = processors.TemplateProcessing(single=f"{around[0]} $A {around[1]}", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=plain, **named)


def write(folder: Path, architecture: str, tokenizer: Any, **config: Any) -> Path:
    """A random model of transformers' class `architecture`, and the tokenizer, below `folder`."""
    import torch
    import transformers

    kind = getattr(transformers, architecture)
    torch.manual_seed(0)
    kind(kind.config_class(vocab_size=len(tokenizer), **config)).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sentence_tokens() -> Any:
    """As RoBERTa and BART have them: padding is token 1."""
    special = ("<s>", "<pad>", "</s>")
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    return byte_tokens(*special, around=("<s>", "</s>"), **names)


def write_gpt2(folder: Path) -> Path:
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 512}
    tokens = byte_tokens(END, eos_token=END, bos_token=END)
    return write(folder, "GPT2LMHeadModel", tokens, bos_token_id=0, eos_token_id=0, **sizes)


def write_phi3(folder: Path) -> Path:
    ends = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    tokens = byte_tokens(END, eos_token=END)
    return write(folder, "Phi3ForCausalLM", tokens, original_max_position_embeddings=512, **ends, **SIZES)
