"""What can go wrong with a load campaign, beside its file (that is `StackError`)."""

from typing import ClassVar

from variants.errors import EngineError


class LoadError(EngineError):
    """The target cannot be reached, says what it should not, or the campaign ran past its limit."""

    code: ClassVar[str] = "load_failed"
