"""The root of the error tree.

    UnderstudyError
    ├── InputError           what the user gave is wrong            exit 2
    │   ├── StackError       the stack file or a campaign file
    │   ├── RecipeError      a recipe that cannot be carried out
    │   ├── UnknownName      a model, variant, task that is not there
    │   └── SourceError      a source that cannot be named or found
    ├── IntegrityError       bytes that are not what their hash says exit 3
    ├── MissingDependency    a package or program is not installed   exit 4
    ├── EngineError          an engine that failed or went away      exit 5
    └── StoreFull            the disk below the store is full        exit 6

Every error says what is wrong, where (`field`), and what would be right (`mend`). The HTTP face of each is in
`serve/errors.py`; the command line prints it on one line and leaves with `exit_code`.
"""

from typing import ClassVar


class UnderstudyError(Exception):
    """Root of all errors that this project raises on purpose.

    `field` is the path of what is wrong (`models.smollm2.variants.int8.weight`), `mend` what would be right.
    """

    code: ClassVar[str] = "internal_error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, field: str | None = None, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.mend = mend

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        mend = f" ({self.mend})" if self.mend else ""
        return f"{where}{self.message}{mend}"


class InputError(UnderstudyError):
    code = "invalid_request"
    exit_code = 2


class StackError(InputError):
    code = "invalid_stack"


class RecipeError(InputError):
    code = "invalid_recipe"


class UnknownName(InputError):
    code = "not_found"


class SourceError(InputError):
    code = "invalid_source"


class IntegrityError(UnderstudyError):
    code = "integrity_error"
    exit_code = 3


class MissingDependency(UnderstudyError):
    code = "missing_dependency"
    exit_code = 4


class EngineError(UnderstudyError):
    code = "engine_error"
    exit_code = 5


class StoreFull(UnderstudyError):
    code = "store_full"
    exit_code = 6
