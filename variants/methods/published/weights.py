"""In how many bits an OpenVINO model computes, read from its graph.

f32, f16, bf16   most weights are stored so
int8             activations are rounded to 8 bits too (`FakeQuantize`), with ranges that are in the file
int8-dynamic     only weights have 8 bits; the engine rounds activations as they come
int4             weights of 4 bits; activations as for int8-dynamic
"""

import math
from collections import Counter
from typing import TYPE_CHECKING

from variants.artifacts.manifest import Precision
from variants.errors import RecipeError

if TYPE_CHECKING:
    import openvino as ov

_FLOATS: dict[str, Precision] = {"f64": "f32", "f32": "f32", "f16": "f16", "bf16": "bf16"}
_INT8, _INT4 = ("i8", "u8"), ("i4", "u4")
_NO_WEIGHTS = ("boolean", "string", "i16", "i32", "i64", "u16", "u32", "u64")
_SMALL = 64  # elements: scales and shapes
_LEVELS = (255, 256)


def precision_of(model: "ov.Model") -> tuple[Precision, str]:
    """The precision, and in words what the graph holds. RecipeError for one that no engine here runs."""
    elements = weights_by_type(model)
    roundings = [node for node in model.get_ops() if node.get_type_name() == "FakeQuantize"]
    levels = [int(node.get_attributes()["levels"]) for node in roundings]
    known = (*_FLOATS, *_INT8, *_INT4)
    other = [f"weights of {name}" for name in elements if name not in known]
    other += [f"activations of {count} levels" for count in levels if count not in _LEVELS]
    if other:
        mend = "weights in 4, 8, 16 or 32 bits, and activations in 8 or more"
        raise RecipeError(f"no engine here runs {other[0]}", field="source.uri", mend=mend)
    total = elements.total()
    shares = [f"{100 * count / total:.0f} % {name}" for name, count in elements.most_common()]
    says = f"weights {', '.join(shares) or 'none'}"
    if levels:
        says += f", rounded to 8 bits in {len(levels)} places"
    return _precision(elements, bool(levels)), says


def _precision(elements: Counter[str], rounds_activations: bool) -> Precision:
    if any(name in elements for name in _INT4):
        return "int4"
    if rounds_activations:
        return "int8"
    if any(name in elements for name in _INT8):
        return "int8-dynamic"
    return _FLOATS[elements.most_common(1)[0][0]] if elements else "f32"


def weights_by_type(model: "ov.Model") -> Counter[str]:
    """How many numbers the constants of each type hold, without small ones and indices."""
    elements: Counter[str] = Counter()
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            name, size = node.get_element_type().get_type_name(), math.prod(node.get_output_shape(0))
            if name not in _NO_WEIGHTS and size > _SMALL:
                elements[name] += size
    return elements
