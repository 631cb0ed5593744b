"""What a client may ask of an embedding engine of ours: OpenAI's embeddings, typed and checked.

As with text, what is understood is honoured and everything else is refused by name. A text that is too long is refused
too: cut in silence, it would get the embedding of its beginning."""

from typing import Annotated, Literal, cast

from pydantic import Field, StrictInt

from serve.engines.http.tensors import MOST_EXAMPLES
from serve.engines.http.text_request import Identified
from variants.document import No, exactly
from variants.errors import InputError


class EmbeddingRequest(Identified):
    """`POST /v1/embeddings`: one text or several, each as text or as token ids, which are taken as they are. Of other
    servers' options the default alone is taken, which asks for nothing."""

    model: str
    input: str | list[str] | list[StrictInt] | list[list[StrictInt]]
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = None
    add_special_tokens: Annotated[Literal[True], exactly(bool)] | None = None
    embed_dtype: Literal["float32"] | None = None
    endianness: Literal["native"] | None = None
    padding: Literal["do_not_pad"] | None = None
    truncate: No | None = None

    @property
    def inputs(self) -> list[str] | list[list[int]]:
        """The texts, or the token ids, one entry an embedding. Raises InputError where one is empty, or too many."""
        one = isinstance(self.input, str) or (bool(self.input) and isinstance(self.input[0], int))
        several = cast("list[str] | list[list[int]]", [self.input] if one else self.input)
        if not several:
            raise InputError("empty", field="input", mend="at least one text")
        if len(several) > MOST_EXAMPLES:
            raise InputError(f"{len(several)} texts", field="input", mend=f"at most {MOST_EXAMPLES} a request")
        for i, each in enumerate(several):
            if not each:
                raise InputError("empty", field=place(not one, i), mend="at least one character or token")
        return several


def place(several: bool, index: int) -> str:
    """Where an input stands in the request."""
    return f"input[{index}]" if several else "input"
