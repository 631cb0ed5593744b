"""The HTTP API: OpenAI, Open Inference Protocol v2, and the admin routes."""
