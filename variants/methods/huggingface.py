"""What the readers of Hugging Face classifiers and detectors share."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def labels_of(model: "PreTrainedModel") -> tuple[str, ...]:
    """The model's labels, in the order of its outputs."""
    names: dict[int, str] = model.config.id2label  # type: ignore[assignment]
    return tuple(names[index] for index in sorted(names))


def new_head(labels: tuple[str, ...] | None) -> dict[str, Any]:
    """Arguments of `from_pretrained` for a new head with these labels; none for `None`, which keeps the head."""
    if labels is None:
        return {}
    names = dict(enumerate(labels))
    numbers = {name: number for number, name in names.items()}
    return {"num_labels": len(labels), "id2label": names, "label2id": numbers, "ignore_mismatched_sizes": True}
