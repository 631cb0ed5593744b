"""The colours of variants, the same in every report, plot and page."""

PALETTE = (
    ("#3b6fb6", "#7fb0ff"),
    ("#c2571a", "#ff9d5c"),
    ("#2c8a57", "#63d39a"),
    ("#8a4fbf", "#c99bff"),
    ("#a8323e", "#ff8a95"),
    ("#6b6b1f", "#d4d35a"),
)
"""(light, dark) in the order of a model's variants. Colour-blind readers can distinguish them."""
