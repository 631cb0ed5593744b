"""Images and boxes: image preparation, detector outputs, the diffusion sampler."""
