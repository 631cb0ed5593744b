"""OpenAI's `/v1/images/generations`: a text route whose answers are pictures.

They are copied as they are. A labelled request is not scored here: that takes a judge that looks at the picture, and
the ingress carries bytes. Whoever sends the label has the judge (`variants.tasks.digit_judge`): offline evaluation and
the load's campaign score with the same one.
"""

from serve.api.openai import TextAnswer, TextRoute
from serve.fleet import Fleet
from serve.relay import Relay


class ImagesAnswer(TextAnswer):
    """Lets pictures pass: there is no usage in them to count."""

    def chunk(self, data: bytes, now: float) -> bytes:
        return data

    def end(self) -> bytes:
        return b""

    def is_right(self, label: str) -> bool | None:
        return None


def images_route(fleet: Fleet, relay: Relay, body_limit: int) -> TextRoute:
    return TextRoute(fleet, relay, "/v1/images/generations", body_limit, "image-generation", ImagesAnswer)
