"""The protocols that clients speak: OpenAI, Open Inference Protocol v2, and our own admin routes."""
