"""Hides the progress bars and messages of libraries: progress is shown once, by `variants.progress`.

Warnings and errors still reach stderr. A user's own settings of a library are kept. The settings hold only inside the
context, so that an engine that is started later does not inherit them.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

_SETTINGS = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "LLM_COMPRESSOR_LOG_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
}


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside, libraries print no progress. What they print to stdout is dropped, so that `--json` stays JSON."""
    added = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        sys.stdout.flush()
        for name in added:
            os.environ.pop(name, None)
