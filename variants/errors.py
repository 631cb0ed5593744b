"""The root of the error tree.

    UnderstudyError
    ├── InputError           wrong input from the user             exit 2
    │   ├── StackError       the stack file or a campaign file
    │   ├── RecipeError      a recipe that cannot be built
    │   ├── UnknownName      a model, variant or task that does not exist
    │   └── SourceError      a source that is misnamed or unavailable
    ├── IntegrityError       bytes that do not match their hash    exit 3
    ├── MissingDependency    a package or program is not installed   exit 4
    │   └── PluginError      a plug-in that is installed and cannot be used
    ├── EngineError          an engine that failed or stopped      exit 5
    └── StoreFull            the disk below the store is full        exit 6

Every error says what is wrong, where (`field`), and how to correct it (`mend`). `serve/errors.py` maps each one to an
HTTP status. The command line prints it on one line and exits with `exit_code`.
"""

from typing import ClassVar


class UnderstudyError(Exception):
    """Root of all errors that this project raises on purpose.

    `field` is the path of the wrong value (`models.smollm2.variants.int8.weight`). `mend` says how to correct it.
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


class PluginError(MissingDependency):
    code = "plugin_error"


class EngineError(UnderstudyError):
    code = "engine_error"
    exit_code = 5


class StoreFull(UnderstudyError):
    code = "store_full"
    exit_code = 6
