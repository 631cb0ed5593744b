"""A tiny BERT with random weights and a word tokenizer, saved as sentence-transformers saves one."""

import json
from pathlib import Path

TINY_CONTEXT = 40
POOLING = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def make_encoder(folder: Path, pooling: dict[str, bool] | None = POOLING) -> Path:
    """2 layers, width 32; words are w1 to w59; 64 positions, but made for texts of TINY_CONTEXT tokens."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    words = [*special.values(), *(f"w{index}" for index in range(60))]
    vocabulary = {word: index for index, word in enumerate(words)}
    plain = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # As published: cut and padded to a fixed length, which serving must not do in silence.
    plain.enable_truncation(16)
    plain.enable_padding(length=16)
    PreTrainedTokenizerFast(tokenizer_object=plain, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).eval().save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": TINY_CONTEXT}))
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def make_classifier(folder: Path, labels: tuple[str, ...] = ("cat", "dog", "fox")) -> Path:
    """The same BERT with a random head for `labels`, as the hub has classifiers; texts of up to 64 tokens."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    make_encoder(folder, None)
    (folder / "sentence_bert_config.json").unlink()
    torch.manual_seed(1)
    names = dict(enumerate(labels))
    config = BertConfig.from_pretrained(folder, id2label=names, label2id={name: i for i, name in names.items()})
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    return folder
