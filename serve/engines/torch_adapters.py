"""Low-rank adapters in a model of transformers, by peft: which are there, and which one it computes with.

For one thread. The base may be in NF4 (QLoRA: Dettmers et al. 2023, arXiv 2305.14314): its layers stay packed, and an
adapter's product, in the adapter's own precision, is added to theirs.
"""

from itertools import count
from pathlib import Path

from transformers import PreTrainedModel

from variants.errors import EngineError


class TorchAdapters:
    """The adapters of one model. `active` is the name of the one that it computes with, "" for none."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.loaded: dict[str, str] = {}
        self.active = ""
        self.numbers = count()

    def load(self, name: str, folder: Path) -> None:
        """Put the adapter in `folder` beside those that are there. Raises EngineError where peft cannot read it, or it
        does not fit the model."""
        known = f"adapter{next(self.numbers)}"  # peft's names hold no dots
        try:
            found = self.model.load_adapter(str(folder), adapter_name=known, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise EngineError(f"peft cannot load it: {' '.join(str(error).split())}", field=name) from error
        self.loaded[name] = known
        self.use("")
        if found.missing_keys or found.mismatched_keys or found.unexpected_keys:
            self.unload(name)
            raise EngineError("its weights are not those of an adapter of this model", field=name)

    def unload(self, name: str) -> None:
        if self.active == name:
            self.use("")
        self.model.delete_adapter(self.loaded.pop(name))

    def use(self, name: str) -> None:
        """Compute with the adapter `name` from now on, or, where it is "", with none."""
        if name:
            self.model.enable_adapters()
            self.model.set_adapter(self.loaded[name])
        else:
            self.model.disable_adapters()
        self.active = name
