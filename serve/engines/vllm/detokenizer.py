"""The text of an answer and the bytes of its tokens, where vLLM 0.32 gives others.

vLLM decodes an answer with the whole prompt before it. Where the prompt ends in U+FFFD or within a character, the
decoder holds the prompt back and shows it with the answer's first text. Here it gets the end of the prompt, up to its
last whole character. A decoder that fails on bytes that are no character starts again, and U+FFFD stands for what it
held. A decoder also holds back each U+FFFD that the model itself writes, as if a character were not complete; it is
shown here, because the tokens' bytes say that it is one.

And `bytes` of a log probability are the token's own, where vLLM encodes a text that depends on the tokens before it.
"""

import functools
from collections.abc import Sequence
from typing import Any

import xgrammar
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.v1.engine.detokenizer import INVALID_PREFIX_ERR_MSG, FastIncrementalDetokenizer

UNREADABLE = "\ufffd"
CONTEXT = 8
"""Tokens of the text before that are decoded with what follows. A character has at most four; the first token of a
text loses its space."""

make, step = FastIncrementalDetokenizer.__init__, FastIncrementalDetokenizer._protected_step
chat_logprobs, top_logprobs = OpenAIServingChat._create_chat_logprobs, OpenAIServingChat._get_top_logprobs


def use_detokenizer() -> None:
    """From now on in this process."""
    FastIncrementalDetokenizer.__init__ = start  # type: ignore[method-assign]
    FastIncrementalDetokenizer._protected_step = follow  # type: ignore[method-assign,assignment]
    OpenAIServingChat._create_chat_logprobs = with_bytes  # type: ignore[method-assign]
    OpenAIServingChat._get_top_logprobs = top_with_bytes  # type: ignore[method-assign]


def start(self: FastIncrementalDetokenizer, tokenizer: Any, request: Any) -> None:
    make(self, tokenizer, request)
    self.prompt_end = list((request.prompt_token_ids or ())[-CONTEXT:])  # type: ignore[attr-defined]
    self.held, self.whole_tokenizer = b"", tokenizer  # type: ignore[attr-defined]
    self.stream = stream_after(self.tokenizer, self.prompt_end, self.skip_special_tokens)  # type: ignore[attr-defined]


def follow(self: FastIncrementalDetokenizer, token: int) -> str | None:
    """The text that has become certain with `token`, which is the last of `self.token_ids`."""
    try:
        text = self.stream.step(self.tokenizer, token)
    except Exception as error:
        if not str(error).startswith(INVALID_PREFIX_ERR_MSG):
            return step(self, token)  # vLLM's own way with what is no token
        restart(self, self.token_ids[:-1])
        text = UNREADABLE + (self.stream.step(self.tokenizer, token) or "")
    if text is not None:
        self.held = b""  # type: ignore[attr-defined]
        return text
    return held_text(self, token)


def held_text(self: FastIncrementalDetokenizer, token: int) -> str | None:
    """What the decoder holds back with `token`, where this ends in a U+FFFD that is a character of the answer; else
    None."""
    vocabulary = bytes_of(self.whole_tokenizer)  # type: ignore[attr-defined]
    shown = self.tokenizer.decode([token], skip_special_tokens=self.skip_special_tokens)
    if shown and token < len(vocabulary):
        self.held += vocabulary[token]  # type: ignore[attr-defined]
    held: bytes = self.held  # type: ignore[attr-defined]
    if not held.endswith(UNREADABLE.encode()):
        return None
    try:
        text = held.decode()
    except UnicodeDecodeError:
        return None  # a character before it is not complete
    restart(self, self.token_ids)
    return text


def restart(self: FastIncrementalDetokenizer, answer: Sequence[int]) -> None:
    """A new decoder, of what comes after the tokens of `answer`."""
    before = [*self.prompt_end, *answer[-CONTEXT:]]  # type: ignore[attr-defined]
    self.stream = stream_after(self.tokenizer, before, self.skip_special_tokens)
    self.held = b""  # type: ignore[attr-defined]


def stream_after(tokenizer: Tokenizer, ids: Sequence[int], skip_special: bool) -> DecodeStream:
    """A decoder of what comes after `ids`, which shows nothing of them. Where none of them is readable, it follows a
    letter: the next token is not the first of a text, and keeps its space."""
    before = list(ids[-CONTEXT:])
    while before and tokenizer.decode(before, skip_special_tokens=skip_special).endswith(UNREADABLE):
        before.pop()
    if ids and not before:
        before = tokenizer.encode("a", add_special_tokens=False).ids
    return DecodeStream(ids=before, skip_special_tokens=skip_special)


def with_bytes(self: OpenAIServingChat, token_ids: Sequence[int], *asked: Any, **how: Any) -> Any:
    """vLLM's log probabilities of a chat, each token with its own bytes. `_get_top_logprobs` has seen to the
    alternatives."""
    logprobs = chat_logprobs(self, token_ids, *asked, **how)
    vocabulary = bytes_of(self.renderer.tokenizer)
    for entry, token in zip(logprobs.content or (), token_ids, strict=True):
        entry.bytes = list(vocabulary[token]) if token < len(vocabulary) else entry.bytes
    return logprobs


def top_with_bytes(self: OpenAIServingChat, logprobs: dict[int, Any], *asked: Any, **how: Any) -> Any:
    entries = top_logprobs(self, logprobs, *asked, **how)
    vocabulary = bytes_of(self.renderer.tokenizer)
    for entry, token in zip(entries, logprobs, strict=False):  # it gives the first of them
        entry.bytes = list(vocabulary[token]) if token < len(vocabulary) else entry.bytes
    return entries


@functools.cache
def bytes_of(tokenizer: Any) -> list[bytes]:
    """By id: the bytes that each token stands for."""
    return xgrammar.TokenizerInfo.from_huggingface(tokenizer).decoded_vocab
