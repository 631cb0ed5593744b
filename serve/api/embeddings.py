"""OpenAI's `/v1/embeddings`: a text route whose answers are numbers.

Answers are copied unchanged. Our engines write usage last, so it is read from the last bytes. The numbers are parsed
only for a labelled request, to find which of its texts are near each other.
"""

import json
import re

from serve.api.answers import TextAnswer
from variants.metrics.scoring import label_matches, nearer, numbers_of

TAIL = 256
"""Bytes at the end of an answer that hold its usage."""
PROMPT_TOKENS = re.compile(rb'"usage":\s*\{[^{}]*"prompt_tokens":\s*(\d+)')


class EmbeddingAnswer(TextAnswer):
    """Observes an answer with embeddings."""

    def end(self) -> bytes:
        if self.call.status == 200 and (match := PROMPT_TOKENS.search(bytes(self.body[-TAIL:]))):
            self.usage = {"prompt_tokens": int(match[1])}
        return self.remainder()

    def score(self, label: str) -> float | None:
        """None unless there are three embeddings: an anchor and the two that the label chooses between."""
        data = sorted(json.loads(self.body)["data"], key=lambda entry: int(entry["index"]))
        if len(data) != 3:
            return None
        return float(label_matches(nearer([numbers_of(entry["embedding"]) for entry in data]), label))
