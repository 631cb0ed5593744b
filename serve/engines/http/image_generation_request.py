"""What a client may ask of an image generator: OpenAI's images, typed and checked.

What is understood is honoured and everything else is refused by name, as with text. `seed` and `num_inference_steps`
are not OpenAI's: the same prompt, seed, size and steps give the same pictures. A class-conditional model can be told a
label and no more, so its prompt is free text that names exactly one of the labels as a word of its own.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, StrictInt

from serve.engines.http.text_request import Identified
from variants.document import No, exactly
from variants.errors import InputError
from variants.vision.diffusion_pipeline import MOST_STEPS

MOST_IMAGES = 10
"""Pictures in one request, OpenAI's own limit."""
MOST_WORDS = 1000
"""Characters of a prompt."""


class GenerationRequest(Identified):
    """`POST /v1/images/generations`. Of OpenAI's options that no model here has, the default alone is taken."""

    model: str
    prompt: Annotated[str, Field(min_length=1, max_length=MOST_WORDS)]
    n: Annotated[StrictInt, Field(ge=1, le=MOST_IMAGES)] | None = 1
    size: str | None = None
    response_format: Literal["b64_json"] | None = None
    output_format: Literal["png"] | None = None
    stream: No | None = None
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] | None = None
    num_inference_steps: Annotated[StrictInt, Field(ge=1, le=MOST_STEPS)] | None = None
    background: Literal["auto"] | None = None
    moderation: Literal["auto"] | None = None
    output_compression: Annotated[Literal[100], exactly(int)] | None = None
    partial_images: Annotated[Literal[0], exactly(int)] | None = None
    quality: Literal["auto", "standard"] | None = None
    style: Literal["vivid"] | None = None


def label_in(prompt: str, labels: Sequence[str]) -> int:
    """The position of the one label that a prompt names. InputError where it names none, or several."""
    places = [place for place, label in enumerate(labels) if re.search(rf"(?<!\w){re.escape(label)}(?!\w)", prompt)]
    if len(places) != 1:
        named = f"it names {len(places)} of them" if places else "it names none of them"
        raise InputError(named, field="prompt", mend=f"name exactly one of {', '.join(labels)}: a handwritten 7")
    return places[0]


def check_size(size: str | None, side: int) -> None:
    """InputError unless the size is the model's own, or left to it."""
    own = f"{side}x{side}"
    if size not in (None, "auto", own):
        raise InputError(f"{size} is not offered", field="size", mend=f"{own}, or leave it out")
