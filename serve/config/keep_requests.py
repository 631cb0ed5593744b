"""Which live requests of a model are kept on disk, as data for tasks of one's own (`serve.api.operation`)."""

from pydantic import Field

from variants.document import Document


class KeepRequests(Document):
    """The newest `most` texts with a label and as many without one, none of them longer than `days` days."""

    most: int = Field(default=10_000, strict=True, ge=1, le=1_000_000)
    days: int = Field(default=30, strict=True, ge=1, le=3650)
