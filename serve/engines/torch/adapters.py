"""Low-rank adapters in a model of transformers, by peft: which are there, and which one it computes with.

For one thread. The base may be in NF4 (QLoRA: Dettmers et al. 2023, arXiv 2305.14314): its layers stay packed, and an
adapter's product, in the adapter's own precision, is added to theirs.
"""

from itertools import count
from pathlib import Path

from peft import LoraModel, PeftModel
from transformers import PreTrainedModel

from variants.errors import EngineError


def keep_unpacked(model: PreTrainedModel) -> None:
    """Have bitsandbytes leave 4-bit weights as they are stored. On a CPU with AVX512-BF16 it packs them anew at their
    first use, and peft, which asks for the model's state when it loads an adapter, has them unpacked again wrongly."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


class TorchAdapters:
    """The adapters of one model, which peft puts into its layers. `active` is the name of the one that it computes
    with, "" for none.

    Not by the model's own `load_adapter`: that of transformers 5.17 calls the weights of adapters that are there
    missing when another is loaded."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.peft: PeftModel | None = None
        self.loaded: dict[str, str] = {}
        self.active = ""
        self.numbers = count()

    def load(self, name: str, folder: Path) -> None:
        """Put the adapter in `folder` beside those that are there. Raises EngineError where peft cannot read it, or it
        does not fit the model."""
        known = f"adapter{next(self.numbers)}"  # peft's names hold no dots
        try:
            if self.peft is None:
                self.peft = PeftModel.from_pretrained(
                    self.model, folder, adapter_name=known, autocast_adapter_dtype=False
                )
            else:
                self.peft.load_adapter(folder, adapter_name=known, autocast_adapter_dtype=False)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise EngineError(f"peft cannot load it: {' '.join(str(error).split())}", field=name) from error
        self.loaded[name] = known
        self.use("")

    def unload(self, name: str) -> None:
        if self.active == name:
            self.use("")
        assert self.peft is not None
        self.peft.delete_adapter(self.loaded.pop(name))

    def use(self, name: str) -> None:
        """Compute with the adapter `name` from now on, or, where it is "", with none."""
        if self.peft is not None:
            layers = self.peft.base_model
            assert isinstance(layers, LoraModel)
            if name:
                layers.enable_adapter_layers()
                self.peft.set_adapter(self.loaded[name])
            else:
                layers.disable_adapter_layers()
        self.active = name
