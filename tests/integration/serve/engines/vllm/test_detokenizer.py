"""How an answer is decoded after prompts and tokens that are no whole characters, by vLLM's class with ours in it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from vllm import SamplingParams
from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer

from serve.engines.vllm.detokenizer import bytes_of, use_detokenizer
from tests.integration.serve.engines.tiny_text import write_tiny_text

pytestmark = pytest.mark.integration
NAMES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁a", "▁b", "a", "b"]


@pytest.fixture(scope="module", autouse=True)
def ours() -> None:
    use_detokenizer()


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder = write_tiny_text(tmp_path_factory.mktemp("tiny"))
    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(Path(folder))
    return loaded


@pytest.fixture(scope="module")
def byte_fallback() -> PreTrainedTokenizerFast:
    """As Llama 2's, Mistral's and Gemma's: bytes are tokens of their own."""
    vocabulary = {name: token for token, name in enumerate(NAMES)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token=NAMES[0]))
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(parts)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=NAMES[1], eos_token=NAMES[2])


def answered(tokenizer: PreTrainedTokenizerFast, prompt: list[int], answer: list[int]) -> str:
    """What vLLM shows of `answer`, a token at a time."""
    request: Any = SimpleNamespace(
        request_id="x", prompt_token_ids=prompt, sampling_params=SamplingParams(max_tokens=len(answer))
    )
    detokenizer = FastIncrementalDetokenizer(tokenizer, request)
    for token in answer:
        detokenizer.update([token], False)
    assert detokenizer.output_token_ids == answer
    return "".join(detokenizer.get_next_output_text(True, True))


def ids(text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    encoded: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return encoded


def pieces(*parts: str | bytes) -> list[int]:
    """Tokens of the second tokenizer; bytes are a token each."""
    names = [name for part in parts for name in ([part] if isinstance(part, str) else [f"<0x{b:02X}>" for b in part])]
    return [NAMES.index(name) for name in names]


@pytest.mark.parametrize("prompt", ["damaged \ufffd", "\ufffd", "\ufffd" * 20, "日本 \ufffd\ufffd", "whole", ""])
def test_an_answer_never_begins_with_its_prompt(byte_level: PreTrainedTokenizerFast, prompt: str) -> None:
    assert answered(byte_level, ids(prompt, byte_level), ids(" good film", byte_level)) == " good film"


@pytest.mark.parametrize("cut", [1, 2])
def test_a_prompt_that_ends_within_a_character_is_not_shown(byte_level: PreTrainedTokenizerFast, cut: int) -> None:
    whole = [token for byte in "語".encode() for token in ids_of_byte(byte, byte_level)]
    prompt = ids("a film ", byte_level) + whole[:cut]
    text = answered(byte_level, prompt, whole[cut:] + ids(" good", byte_level))
    assert text.replace("\ufffd", "") == " good"


@pytest.mark.parametrize("prompt", ["a film", "damaged \ufffd", ""])
@pytest.mark.parametrize(
    "text", ["\ufffd", "\ufffd\ufffd\ufffd", " good \ufffd", "\ufffd film", " a \ufffd\ufffd film \ufffd"]
)
def test_a_replacement_character_that_the_model_writes_is_shown(
    byte_level: PreTrainedTokenizerFast, prompt: str, text: str
) -> None:
    assert answered(byte_level, ids(prompt, byte_level), ids(text, byte_level)) == text


def test_a_character_that_is_not_complete_is_not_shown(byte_level: PreTrainedTokenizerFast) -> None:
    cut = [ids_of_byte(byte, byte_level)[0] for byte in "\ufffd".encode()[:2]]
    assert answered(byte_level, ids("a film", byte_level), [*ids(" good", byte_level), *cut]) == " good"


def ids_of_byte(byte: int, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    return [bytes_of(tokenizer).index(bytes([byte]))]


@pytest.mark.parametrize(
    ("prompt", "answer", "text"),
    [
        (["▁a"], ["▁b", "你".encode(), "▁a"], " b你 a"),
        (["▁a"], ["你".encode(), b"\xff", "▁b"], "你\ufffd b"),
        (["▁a", "你".encode()], [b"\xff", "▁b"], "\ufffd b"),
        (["▁a", "你".encode()[:2]], ["你".encode()[2:], "▁b", "a"], "\ufffd ba"),
        (["▁a"], [b"\xff\xfe", "b", "你".encode()], "\ufffd\ufffdb你"),
        ([], ["▁b", b"\xff", "a"], "b\ufffda"),
    ],
)
def test_bytes_that_are_no_character_do_not_break_an_answer_off(
    byte_fallback: PreTrainedTokenizerFast, prompt: list[str | bytes], answer: list[str | bytes], text: str
) -> None:
    assert answered(byte_fallback, pieces(*prompt), pieces(*answer)) == text


def test_the_bytes_of_a_token_are_its_own(
    byte_level: PreTrainedTokenizerFast, byte_fallback: PreTrainedTokenizerFast
) -> None:
    for tokenizer in (byte_level, byte_fallback):
        assert bytes_of(tokenizer) is bytes_of(tokenizer)
    text = "naïve café 日本語 👍"
    vocabulary = bytes_of(byte_level)
    assert b"".join(vocabulary[token] for token in ids(text, byte_level)) == text.encode()
    assert [bytes_of(byte_fallback)[token] for token in pieces("▁a", b"\xe4", "b")] == [b" a", b"\xe4", b"b"]
