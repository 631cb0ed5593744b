"""vLLM's own server, with kernels and error answers of ours."""
