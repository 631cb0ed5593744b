"""`keep_answers` of a model in the stack file: how long answers that differ are kept, and how many."""

from typing import Annotated

from pydantic import Field

from variants.document import Document


class KeepAnswers(Document):
    """Keeps answers of a variant and its parent that differ, with their prompts, in the home. Without this setting only
    digests and scores are kept."""

    days: Annotated[float, Field(strict=True, gt=0, le=365, description="older ones are removed")] = 7.0
    most: Annotated[int, Field(strict=True, ge=1, le=100_000, description="with more, the oldest are removed")] = 1000
    share: Annotated[float, Field(strict=True, gt=0, le=1, description="of the pairs that differ")] = 1.0
