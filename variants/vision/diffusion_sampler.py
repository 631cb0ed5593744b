"""A diffusion sampler: from seeded noise to a picture, in a few deterministic steps with any denoiser.

The method is DDIM with eta 0 (Song et al. 2020, arXiv 2010.02502) on predicted velocities (Salimans & Ho 2022,
arXiv 2202.00512). The same noise and the same denoiser give the same picture. The schedule is the one of diffusers,
stored when the model is trained. Steps are computed by numpy in float32, so that an engine needs no torch.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from variants.document import Document

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Denoiser = Callable[["Floats", int, int], "Floats"]

FILE = "sampler.json"


class Sampler(Document):
    """A schedule. `timesteps` go from noise to picture. `alphas` holds the picture's share of the variance at each of
    them. Pictures are grey, with `side` pixels in both directions."""

    schema_: Literal[1] = Field(1, alias="schema")
    side: Annotated[int, Field(gt=0)]
    timesteps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)]
    alphas: tuple[Annotated[float, Field(ge=0, le=1)], ...]

    @model_validator(mode="after")
    def _go_down(self) -> Self:
        if len(self.alphas) != len(self.timesteps):
            raise ValueError(f"alphas: {len(self.alphas)} for {len(self.timesteps)} timesteps")
        if list(self.timesteps) != sorted(set(self.timesteps), reverse=True):
            raise ValueError("timesteps: each must be below the one before")
        return self

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """The sampler in an artifact's `model/` folder. InputError for an invalid file, OSError for a missing one."""
        return cls.from_json((folder / FILE).read_bytes(), str(folder / FILE))

    def noise(self, seed: int, index: int = 0) -> "Floats":
        """The initial noise of picture `index` of `seed`: float32 [1, 1, side, side], standard normal."""
        import numpy as np

        return np.random.default_rng([seed, index]).standard_normal((1, 1, self.side, self.side), dtype=np.float32)

    def steps(self, denoiser: "Denoiser", label: int, seed: int, index: int = 0) -> "Iterator[tuple[Floats, int]]":
        """Every (sample, timestep) before the denoiser's call, and at the end (picture, -1) with values from -1 to 1.

        `denoiser(sample, timestep, label)` gives the velocity, in the shape of the sample.
        """
        import numpy as np

        sample = self.noise(seed, index)
        for timestep, alpha, following in zip(self.timesteps, self.alphas, (*self.alphas[1:], 1.0), strict=True):
            yield sample, timestep
            velocity = denoiser(sample, timestep, label)
            signal, spread = np.float32(alpha**0.5), np.float32((1 - alpha) ** 0.5)
            picture = np.clip(signal * sample - spread * velocity, -1, 1)
            noise = signal * velocity + spread * sample
            sample = (np.float32(following**0.5) * picture + np.float32((1 - following) ** 0.5) * noise).astype(
                np.float32
            )
        yield sample, -1

    def draw(
        self, denoiser: "Denoiser", label: int, seed: int, index: int = 0
    ) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
        """The picture: uint8 [side, side], 0 is black."""
        import numpy as np

        *_, (sample, _) = self.steps(denoiser, label, seed, index)
        return np.clip(np.rint((sample[0, 0] + 1) * 127.5), 0, 255).astype(np.uint8)
