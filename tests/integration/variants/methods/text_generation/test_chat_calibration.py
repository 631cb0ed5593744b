"""Chats as calibration texts: in the model's own template, and once with the token that begins a text."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from variants.methods.text_generation.calibration import input_text
from variants.tasks import Chat, Example

pytestmark = pytest.mark.integration
TEMPLATE = (
    "{{ bos_token }}{% for each in messages %}[{{ each.role }}] {{ each.content }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    """One token a word, and a first token that the tokenizer adds itself."""
    words = {"<s>": 0, "<unk>": 1, "[user]": 2, "[assistant]": 3, "hello": 4}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # noqa: S106  # no password
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", unk_token="<unk>")  # noqa: S106
    made.chat_template = template
    return made


def test_a_chat_is_written_in_the_template() -> None:
    chat = Example("1", Chat((("user", "hello"),)), "Rome")
    text = input_text(chat, tokenizer(TEMPLATE))
    assert text == "[user] hello [assistant]"
    assert tokenizer(TEMPLATE)(text)["input_ids"] == [0, 2, 4, 3]
    assert input_text(Example("1", "hello", "Rome"), tokenizer(TEMPLATE)) == "hello"


def test_a_model_without_a_template_is_told() -> None:
    with pytest.raises(ValueError, match="chat_template"):
        input_text(Example("1", Chat((("user", "hello"),)), "Rome"), tokenizer(None))
