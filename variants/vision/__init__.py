"""Images and boxes: preparation, detector outputs, the diffusion sampler."""
