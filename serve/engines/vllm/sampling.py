"""What vLLM 0.32 refuses to sample, though OpenAI's API has it: several answers at temperature 0, which are alike."""

from vllm.sampling_params import SamplingParams


def allow_several_greedy() -> None:
    """From now on in this process."""
    SamplingParams._verify_greedy_sampling = accept  # type: ignore[method-assign,assignment]


def accept(params: SamplingParams) -> None:
    """vLLM's check of `n` at temperature 0, which nothing depends on."""
