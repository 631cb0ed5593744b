"""`judge` of a model in the stack file: a language model that says which of two answers that differ is better."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from serve.config.server.webhook import ENVIRONMENT, check_http_url
from variants.document import Document, absent

INSTRUCTION = (
    "You compare two answers to the same request. Say which is better: more correct, more helpful, more to the point. "
    "Length alone is no merit. If both are equally good, it is a tie."
)


class Judge(Document):
    """`model` is a text-generation model of this stack, or `model@variant`; with `url`, a model at that address.

    `key_env` is the *name* of an environment variable of the server, so that no file holds the key."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    url: str | None = Field(
        default=None, exclude_if=absent, description="of an OpenAI-compatible API, like http://127.0.0.1:9000/v1"
    )
    key_env: Annotated[str, Field(pattern=ENVIRONMENT)] | None = Field(
        default=None, exclude_if=absent, description="environment variable with the API key of that address"
    )
    instruction: Annotated[str, Field(min_length=1, max_length=10_000)] = INSTRUCTION

    @model_validator(mode="after")
    def check_address(self) -> Self:
        if self.url is not None:
            check_http_url(self.url, "http://127.0.0.1:9000/v1", "key_env")
        elif self.key_env is not None:
            raise ValueError("key_env is given without url: a model of this stack needs no key")
        return self
