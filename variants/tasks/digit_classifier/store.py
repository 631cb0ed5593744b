"""The stored digit classifier: trained once on MNIST's training split (`training`), then read from its file.

The file is in the folder `judges/` below the home. Its name is the digest of the training's settings and data.
"""

import io
import zipfile
from functools import lru_cache
from pathlib import Path

from variants.document import canonical_sha256
from variants.errors import IntegrityError
from variants.files import locked, write_atomic
from variants.home import home as default_home
from variants.progress import NoProgress, Progress
from variants.tasks.digit_classifier.network import SHAPES, TRAINING, DigitClassifier
from variants.tasks.mnist import Mnist


def load_or_train(home: Path | None = None, progress: Progress | None = None) -> DigitClassifier:
    """The digit classifier of this home. It is trained, in a few seconds, where there is none.

    Raises IntegrityError where the file holds something else.
    """
    home = home or default_home()
    path = path_of(home)
    if not path.exists():
        with locked(path.with_suffix(".lock")):
            if not path.exists():
                _train(path, home, progress or NoProgress())
    return _read(path)


def load_if_trained(home: Path | None = None) -> DigitClassifier | None:
    """The digit classifier of this home, None where it was not trained yet. For callers that must not train it."""
    path = path_of(home or default_home())
    return _read(path) if path.exists() else None


def path_of(home: Path) -> Path:
    how = canonical_sha256([TRAINING, [source.sha256 for source in Mnist.sources]])
    return home / "judges" / f"{how}.npz"


def _train(path: Path, home: Path, progress: Progress) -> None:
    import numpy as np

    from variants.tasks.digit_classifier.training import trained

    with progress.step("training the digit classifier"):
        buffer = io.BytesIO()
        np.savez(buffer, **trained(Mnist(home, progress)))  # type: ignore[arg-type]
        write_atomic(path, buffer.getvalue())


@lru_cache
def _read(path: Path) -> DigitClassifier:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            weights = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is no digit classifier: {error}", mend="delete it: it is trained again") from None
    if {name: weight.shape for name, weight in weights.items()} != SHAPES:
        raise IntegrityError(f"{path} is no digit classifier: other shapes", mend="delete it: it is trained again")
    return DigitClassifier(weights)
