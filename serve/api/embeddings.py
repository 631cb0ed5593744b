"""OpenAI's `/v1/embeddings`: a text route whose answers are numbers.

Answers are copied unchanged. Our engines write usage last, so it is read from the last bytes. The numbers are parsed
only for a labelled request of three texts, to find which of them are near each other.
"""

import re

import msgspec

from serve.api.answers import TextAnswer
from variants.metrics.scoring import label_matches, nearer, numbers_of

TAIL = 256
"""Bytes at the end of an answer that hold its usage."""
PROMPT_TOKENS = re.compile(rb'"usage":\s*\{[^{}]*"prompt_tokens":\s*(\d+)')


class Entry(msgspec.Struct):
    """One embedding, whose numbers are not parsed yet."""

    index: int
    embedding: msgspec.Raw


class Embeddings(msgspec.Struct):
    data: list[Entry]


class EmbeddingAnswer(TextAnswer):
    """Observes an answer with embeddings."""

    async def end(self) -> bytes:
        if self.call.status == 200 and (match := PROMPT_TOKENS.search(bytes(self.body[-TAIL:]))):
            self.usage = {"prompt_tokens": int(match[1])}
        return self.rest

    def score(self, label: str) -> float | None:
        """None unless there are three embeddings: an anchor and the two that the label chooses between."""
        data = sorted(msgspec.json.decode(self.body, type=Embeddings).data, key=lambda entry: entry.index)
        if len(data) != 3:
            return None
        return float(label_matches(nearer([numbers_of(msgspec.json.decode(entry.embedding)) for entry in data]), label))
