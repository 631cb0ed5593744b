"""What is said of a detector beside its weights: how an image becomes its input (`variants.vision.letterbox`), and what
its output means (`serve.engines.openvino.box_decoder`). It stands in the recipe of a detector that is brought along,
and in each manifest."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from variants.document import Document

Grey = Annotated[float, Field(ge=0, le=255)]
Share = Annotated[float, Field(gt=0, lt=1)]
Stride = Annotated[int, Field(ge=1, le=128, description="pixels of the input from one place of the output to the next")]
Side = Annotated[int, Field(ge=16, le=4096)]
Decoder = Literal["yolox", "centernet", "detr", "detr-focal"]


class Detector(Document):
    """`decoder` says what the output holds:

    - `yolox`: float32 [1, places, 5 + classes], the places of all strides one after the other, row by row: offset of
      the centre in strides, logarithm of the size in strides, objectness, and a share for each class.
    - `centernet`: float32 [1, classes + 4, height / stride, width / stride]: a logit for each class, then the
      softplus' argument of how far the box reaches to the left, top, right and bottom of the place's middle, in
      strides.
    - `detr`: float32 [1, queries, 4 + classes + 1]: centre and size as shares of the input's width and height, then the
      logits of a softmax over the classes and, last, nothing (DETR, YOLOS).
    - `detr-focal`: float32 [1, queries, 4 + classes]: the same, and a logit for each class by itself, so that a query
      may answer for several (RT-DETR, Deformable DETR).

    Boxes that score below `least` are dropped; of two of one class that overlap by more than `overlap` the surer one
    stays, which at 1 is both; at most `most` are answered. `size` is the input's height and width: an image keeps its
    proportions in it, or is stretched to it where `fit` says so. Values are (x - mean) / std.
    """

    decoder: Decoder
    size: tuple[Side, Side]
    strides: tuple[Stride, ...] = ()
    channels: Literal["RGB", "BGR"] = "RGB"
    pad: Grey = 0.0
    mean: Grey = 0.0
    std: Annotated[float, Field(gt=0)] = 255.0
    least: Share = 0.01
    overlap: Annotated[float, Field(gt=0, le=1)] = 0.5
    most: Annotated[int, Field(gt=0, le=1000)] = 100
    # Left out of the JSON where it is the default: recipes from before it was there keep their digests.
    fit: Annotated[Literal["proportions", "stretch"], Field(exclude_if=lambda fit: fit == "proportions")] = (
        "proportions"
    )

    @property
    def places(self) -> int:
        """How many boxes the output holds, before any is dropped."""
        return sum((self.size[0] // stride) * (self.size[1] // stride) for stride in self.strides)

    @property
    def has_queries(self) -> bool:
        """Whether it answers by queries and not by places."""
        return self.decoder in ("detr", "detr-focal")

    @model_validator(mode="after")
    def _strides_fit(self) -> Self:
        if self.has_queries == bool(self.strides):
            need = "has none" if self.strides else "needs at least one"
            raise ValueError(f"strides: {self.decoder} {need}")
        if self.decoder == "centernet" and len(self.strides) != 1:
            raise ValueError(f"strides: centernet has one, not {len(self.strides)}")
        if any(side % stride for stride in self.strides for side in self.size):
            raise ValueError(f"strides: {self.size[0]} x {self.size[1]} pixels are not whole numbers of each")
        return self
