"""OpenAI's `/v1/images/generations`: a text route whose answers are pictures.

Pictures are copied unchanged. The digit classifier of offline evaluation and of the load test's campaign
(`variants.tasks.digit_classifier.store`) reads the first picture of a labelled request. It runs in numpy in 0.3 ms,
where drawing takes tens of ms, and the ingress imports no torch. It is never trained here: until an evaluation or a
campaign has trained it, labels are not counted."""

import base64
import json

from serve.api.answers import TextAnswer
from variants.errors import InputError
from variants.metrics.scoring import label_matches
from variants.tasks.digit_classifier.store import load_if_trained


class ImagesAnswer(TextAnswer):
    """Observes an answer with pictures, which has no usage."""

    async def end(self) -> bytes:
        return self.rest

    def score(self, label: str) -> float | None:
        """None where there is no classifier, or it cannot read the picture."""
        reader = load_if_trained()
        if reader is None:
            return None
        try:
            picture = base64.b64decode(json.loads(self.body)["data"][0]["b64_json"])
            return float(label_matches(reader.read(picture), label))
        except InputError:
            return None
