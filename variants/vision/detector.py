"""The description of a detector: its image preparation and the meaning of its output.

`variants.vision.letterbox` prepares images by it, and `variants.vision.box_decoder` decodes outputs by it. The
recipe of an ONNX detector contains it, and so does each manifest of a detector.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from variants.document import Document

Grey = Annotated[float, Field(ge=0, le=255)]
Share = Annotated[float, Field(gt=0, lt=1)]
Stride = Annotated[int, Field(ge=1, le=128, description="pixels of the input between adjacent places of the output")]
Side = Annotated[int, Field(ge=16, le=4096)]
Decoder = Literal["yolox", "centernet", "detr", "detr-focal"]


class Detector(Document):
    """`decoder` names the format of the output:

    - `yolox`: float32 [1, places, 5 + classes]. The places of all strides follow each other, row by row. Values: offset
      of the centre in strides, logarithm of the size in strides, objectness, and a probability for each class.
    - `centernet`: float32 [1, classes + 4, height / stride, width / stride]. Values: a logit for each class, then
      four distances from the middle of the place to the left, top, right and bottom side. A distance is the softplus
      of the value, in strides.
    - `detr`: float32 [1, queries, 4 + classes + 1]. Values: centre and size as shares of the input's width and height,
      then the logits of a softmax over the classes and, last, "no object" (DETR, YOLOS).
    - `detr-focal`: float32 [1, queries, 4 + classes]. As `detr`, but with an independent logit for each class, so that
      a query may answer for several (RT-DETR, Deformable DETR).

    Boxes that score below `least` are dropped. Of two boxes of one class that overlap by more than `overlap`, the one
    with the higher score stays; at 1 both stay. An answer has at most `most` boxes. `size` is the input's height and
    width. An image keeps its proportions in it, or is stretched with `fit` "stretch". Values are (x - mean) / std.
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
    # The default is left out of the JSON, so that older recipes keep their digests.
    fit: Annotated[Literal["proportions", "stretch"], Field(exclude_if=lambda fit: fit == "proportions")] = (
        "proportions"
    )

    @property
    def places(self) -> int:
        """The number of boxes in the output, before any is dropped."""
        return sum((self.size[0] // stride) * (self.size[1] // stride) for stride in self.strides)

    @property
    def has_queries(self) -> bool:
        """Whether the output has queries instead of places."""
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
