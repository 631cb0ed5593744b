"""The colours of variants, the same in every report, plot, page and terminal."""

PALETTE = (
    ("#2456d0", "#7f8df5"),
    ("#d06a00", "#e0743f"),
    ("#079f72", "#44bc9b"),
    ("#b16ec2", "#f2b3ff"),
    ("#630048", "#f4efe6"),
    ("#4a4600", "#a9d62a"),
)
"""(light, dark) in the order of a model's variants. A test holds that colour-blind readers can distinguish them:
without red, green or blue cones, every two are at least 20 apart in CIE Lab."""
