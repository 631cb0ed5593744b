"""Drawing is deterministic, reaches what its denoiser knows, and steps as diffusers does."""

import numpy as np
import pytest

from variants.errors import InputError
from variants.vision.diffusion_sampler import Sampler

SAMPLER = Sampler(side=4, timesteps=(999, 666, 333), alphas=(0.0, 0.25, 0.75))
ALPHAS = dict(zip(SAMPLER.timesteps, SAMPLER.alphas, strict=True))


def knowing(picture: np.ndarray):  # type: ignore[no-untyped-def]
    """A denoiser whose velocity always leads to `picture`."""

    def velocity(sample: np.ndarray, timestep: int, label: int) -> np.ndarray:
        alpha = ALPHAS[timestep]
        return (alpha**0.5 * sample - picture).astype(np.float32) / np.float32((1 - alpha) ** 0.5)

    return velocity


def test_it_reaches_the_picture_that_the_denoiser_knows() -> None:
    picture = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)
    drawn = SAMPLER.draw(knowing(picture), 0, seed=5)
    assert (drawn.dtype, drawn.shape) == (np.uint8, (4, 4))
    assert drawn.tolist() == np.rint((picture[0, 0] + 1) * 127.5).astype(int).tolist()


def test_a_picture_beyond_black_and_white_is_cut() -> None:
    picture = np.array([[-3, 3, -1, 1]] * 4, dtype=np.float32)[None, None]
    assert SAMPLER.draw(knowing(picture), 0, seed=5).tolist() == [[0, 255, 0, 255]] * 4


def test_noise_is_the_seeds_and_the_pictures_own() -> None:
    noise = SAMPLER.noise(7, 1)
    assert (noise.dtype, noise.shape) == (np.float32, (1, 1, 4, 4))
    assert np.array_equal(noise, SAMPLER.noise(7, 1))
    others = (SAMPLER.noise(7, 0), SAMPLER.noise(8, 1), SAMPLER.noise(1, 7))
    assert not any(np.array_equal(noise, other) for other in others)


def test_the_denoiser_is_asked_at_every_timestep_from_noise_on() -> None:
    seen = list(SAMPLER.steps(knowing(np.zeros((1, 1, 4, 4), np.float32)), 0, seed=3))
    assert [timestep for _, timestep in seen] == [999, 666, 333, -1]
    assert np.array_equal(seen[0][0], SAMPLER.noise(3))


def test_a_step_is_diffusers_own() -> None:
    import torch

    from variants.methods.image_generation.unet import sampler, scheduler

    ours, theirs = sampler(8, 5), scheduler()
    theirs.set_timesteps(5)

    def velocity(sample: np.ndarray, timestep: int, label: int) -> np.ndarray:
        return np.asarray(np.tanh(sample * (0.5 + label)) * np.float32(timestep / 999), dtype=np.float32)

    assert ours.timesteps == (999, 799, 599, 399, 199)
    assert ours.alphas[0] == 0.0
    *_, (picture, _) = ours.steps(velocity, 1, seed=11)
    sample = torch.from_numpy(ours.noise(11))
    for timestep in theirs.timesteps:
        wanted = torch.from_numpy(velocity(sample.numpy(), int(timestep), 1))
        sample = theirs.step(wanted, timestep, sample).prev_sample
    np.testing.assert_allclose(picture, sample.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"alphas": [0.0, 0.5]}, "2 for 3 timesteps"),
        ({"timesteps": [1, 2, 3]}, "below the one before"),
        ({"timesteps": [3, 3, 1]}, "below the one before"),
        ({"alphas": [0.0, 0.5, 1.5]}, "less than or equal to 1"),
        ({"eta": 1}, "Extra"),
    ],
)
def test_a_sampler_that_is_none_is_refused(change: dict[str, object], says: str) -> None:
    import json

    document = json.loads(SAMPLER.to_json()) | change
    with pytest.raises(InputError, match=says):
        Sampler.from_json(json.dumps(document), "sampler.json")


def test_it_survives_its_file() -> None:
    assert Sampler.from_json(SAMPLER.to_json(), "sampler.json") == SAMPLER
