"""OpenAI's `/v1/images/generations`: a text route whose answers are pictures.

They are copied as they are. The first picture of a labelled request is given to the digit classifier that offline
evaluation and the load's campaign score with (`variants.tasks.digit_classifier.store`), where this home has one: it
reads in numpy, in 0.3 ms beside a picture that took tens to draw, and the ingress imports no torch. It is never trained
here; where nobody has evaluated or asked for a campaign yet, labels are not counted."""

import base64
import json

from serve.api.answers import TextAnswer
from serve.api.openai import TextRoute
from serve.dataplane.relay import Relay
from serve.dataplane.upstreams import Upstreams
from serve.shadow.replayer import Replayer
from variants.errors import InputError
from variants.metrics.scoring import label_matches
from variants.tasks.digit_classifier.store import load_if_trained


class ImagesAnswer(TextAnswer):
    """Follows pictures on their way: there is no usage in them to count."""

    def end(self) -> bytes:
        return self.rest

    def is_right(self, label: str) -> bool | None:
        """None where there is no classifier, or what was drawn is nothing that it reads."""
        reader = load_if_trained()
        if reader is None:
            return None
        try:
            picture = base64.b64decode(json.loads(self.body)["data"][0]["b64_json"])
            return label_matches(reader.read(picture), label)
        except InputError:
            return None


def images_route(upstreams: Upstreams, relay: Relay, replayer: Replayer, body_limit: int) -> TextRoute:
    return TextRoute(upstreams, relay, replayer, "/v1/images/generations", body_limit, "image-generation", ImagesAnswer)
