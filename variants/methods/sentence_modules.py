"""The modules of a sentence-transformers folder: the encoder, its pooling, and what follows the pooling.

`modules.json` lists them in order, each with a type and a folder of its own. Transformer, Pooling, Normalize and Dense
are read here. Any other module would change the vectors, so it is refused. So is an embedder's default prompt. A folder
without `modules.json` is an encoder with an optional `1_Pooling`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, TypeAdapter, ValidationError, field_validator

from variants.document import Document, explain
from variants.errors import SourceError

if TYPE_CHECKING:
    from torch import nn

ORDER = "modules.json"
POOLING = "1_Pooling"
PROMPTS = "config_sentence_transformers.json"
PoolingMode = Literal["mean", "cls"]
_MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_PACKAGE = "sentence_transformers."
_FIELD = "source.uri"
T = TypeVar("T")


class _Module(BaseModel):
    """One entry of `modules.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: str
    path: str = ""

    @property
    def kind(self) -> str:
        """The last part of a type of sentence-transformers; the whole type of any other package."""
        return self.type.rpartition(".")[2] if self.type.startswith(_PACKAGE) else self.type


class _Prompts(BaseModel):
    """What `config_sentence_transformers.json` says about prompts."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    prompts: dict[str, Any] = {}
    default_prompt_name: str | None = None

    @field_validator("prompts", mode="before")
    @classmethod
    def _absent(cls, given: Any) -> Any:
        return {} if given is None else given


class _DenseSettings(Document):
    """`config.json` of a Dense module, in the spellings of sentence-transformers 2 to 6."""

    in_features: Annotated[int, Field(gt=0)]
    out_features: Annotated[int, Field(gt=0)]
    bias: StrictBool = True
    activation_function: str = "torch.nn.modules.activation.Tanh"
    module_input_name: Literal["sentence_embedding"] = "sentence_embedding"
    module_output_name: Literal["sentence_embedding"] | None = None
    use_residual: Literal[False] = False


_MODULES: TypeAdapter[list[_Module]] = TypeAdapter(list[_Module])
_PROMPTS: TypeAdapter[_Prompts] = TypeAdapter(_Prompts)
_DENSE: TypeAdapter[_DenseSettings] = TypeAdapter(_DenseSettings)
_SETTINGS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@dataclass(frozen=True)
class SentenceModules:
    """`encoder` is the folder that transformers reads. `is_named` says whether the source names its pooling: else
    the mean is a guess. `after` has what follows the pooling, in order: the folder of a dense layer, or None for a
    normalisation."""

    encoder: Path
    pooling: PoolingMode
    is_named: bool
    after: tuple[Path | None, ...] = ()


def read_modules(folder: Path) -> SentenceModules:
    """The modules of `folder`. SourceError for a module or pooling that is not computed here, and for a file that is
    not what its name says."""
    if not (folder / ORDER).is_file():
        pooling, is_named = _pooling_of(folder / POOLING)
        return SentenceModules(folder, pooling, is_named)
    modules = read_json(folder / ORDER, _MODULES)
    kinds = [module.kind for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Normalize", "Dense"}:
        mend = "Transformer and Pooling, then any of Normalize and Dense"
        raise SourceError(f"{ORDER} lists {', '.join(kinds) or 'nothing'}", field=_FIELD, mend=mend)
    places = [_inside(folder, module.path) for module in modules]
    if not (places[1] / "config.json").is_file():
        path = f"{modules[1].path}/config.json"
        raise SourceError(f"{ORDER} names a pooling, but {path} is missing", field=_FIELD, mend="add the file")
    pooling, _ = _pooling_of(places[1])
    after = tuple(place if kind == "Dense" else None for kind, place in zip(kinds[2:], places[2:], strict=True))
    return SentenceModules(places[0], pooling, True, after)


def check_prompt(folder: Path) -> None:
    """SourceError where the folder has a default prompt. sentence-transformers writes it before every text, and nothing
    here does: the vectors would differ from the library's."""
    path = folder / PROMPTS
    settings = read_json(path, _PROMPTS) if path.is_file() else _Prompts()
    name = settings.default_prompt_name
    if name is None or settings.prompts.get(name) == "":
        return
    mend = "null there, and the prompt before the clients' texts"
    raise SourceError(f"{path} has the default_prompt_name {name!r}", field=_FIELD, mend=mend)


def layers_after(modules: SentenceModules, width: int) -> "list[nn.Module | None]":
    """What follows the pooling, with weights in float32; None stands for a normalisation. `width` is that of the pooled
    states. SourceError where a layer's settings or weights are not usable, or it takes another width."""
    layers: list[nn.Module | None] = []
    for folder in modules.after:
        if folder is None:
            layers.append(None)
            continue
        settings = read_json(folder / "config.json", _DENSE)
        if settings.in_features != width:
            message = f"{folder.name} takes {settings.in_features} numbers, the layer before it gives {width}"
            raise SourceError(message, field=_FIELD, mend="a folder whose layers fit")
        layers.append(_dense(folder, settings))
        width = settings.out_features
    return layers


def _dense(folder: Path, settings: _DenseSettings) -> "nn.Module":
    import torch
    from safetensors.torch import load_file

    linear = torch.nn.Linear(settings.in_features, settings.out_features, bias=settings.bias)
    try:
        if (folder / "model.safetensors").is_file():
            weights = load_file(folder / "model.safetensors")
        else:
            weights = torch.load(folder / "pytorch_model.bin", weights_only=True, map_location="cpu")
        linear.load_state_dict({name.removeprefix("linear."): tensor.float() for name, tensor in weights.items()})
    except Exception as error:  # safetensors, pickle and torch raise classes of their own
        message = f"the weights in {folder.name} are not readable: {type(error).__name__}"
        raise SourceError(message, field=_FIELD, mend="weights that fit its config.json") from error
    return torch.nn.Sequential(linear, _activation(settings.activation_function))


def _activation(name: str) -> "nn.Module":
    """An activation of torch by its full name. SourceError for any other name, and for one that needs arguments."""
    import torch

    kind = getattr(torch.nn, name.rpartition(".")[2], None) if name.startswith("torch.nn.") else None
    try:
        if isinstance(kind, type) and issubclass(kind, torch.nn.Module):
            return kind()
    except TypeError:
        pass
    raise SourceError(f"a dense layer has the activation {name}", field=_FIELD, mend="an activation of torch.nn")


def _pooling_of(folder: Path) -> tuple[PoolingMode, bool]:
    """The pooling that `folder` names, and whether it names one. Both spellings are read: `pooling_mode` with a name or
    a list, and a flag for each mode. SourceError for any pooling but mean or cls alone."""
    path = folder / "config.json"
    settings = read_json(path, _SETTINGS) if path.is_file() else {}
    given = settings.get("pooling_mode")
    if given is None:
        flags = {name: on for name, on in settings.items() if name.startswith("pooling_mode_")}
        if not flags:
            return "mean", False
        modes = [_MODES.get(name, name) for name, on in flags.items() if on] or ["mean"]
    else:
        modes = given if isinstance(given, list) else [given]
    for mode in ("mean", "cls"):
        if modes == [mode]:
            return mode, True
    raise SourceError(f"{path} pools by {', '.join(map(str, modes))}", field=_FIELD, mend="mean or cls alone")


def read_json(path: Path, kind: TypeAdapter[T]) -> T:
    """The JSON document at `path`. SourceError, which names the file, where it is not of this kind."""
    try:
        return kind.validate_python(json.loads(path.read_bytes()))
    except ValidationError as error:
        fault = explain(error)
        message = f"{path}: {fault.field or 'the document'}: {fault.message}"
        raise SourceError(message, field=_FIELD, mend="correct the file") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} is not readable: {error}", field=_FIELD, mend="correct the file") from error


def _inside(folder: Path, path: str) -> Path:
    """The folder of a module. SourceError where it is not inside the source."""
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()):
        raise SourceError(f"{ORDER} names {path!r}", field=_FIELD, mend="a folder inside the source")
    return folder / path
