"""The error of a load campaign. A wrong campaign file is a `StackError`."""

from typing import ClassVar

from variants.errors import EngineError


class LoadError(EngineError):
    """The target did not answer, its answer was not valid, or the campaign did not end within its limit."""

    code: ClassVar[str] = "load_failed"
