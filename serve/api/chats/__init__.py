"""Doors whose requests become chats: OpenAI's Responses and Anthropic's Messages."""
