"""Counts the bytes of requests and answers that an ingress holds, so that all of them together are bounded."""

import threading


class Memory:
    """Up to `limit` bytes; `held` are taken. Any thread may call it."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held, self.lock = limit, 0, threading.Lock()

    def take(self, size: int) -> bool:
        """Take `size` bytes; False, and nothing is taken, where that is above the limit."""
        with self.lock:
            if self.held + size > self.limit:
                return False
            self.held += size
            return True

    def give(self, size: int) -> None:
        """Give back `size` bytes that were taken."""
        with self.lock:
            self.held -= size
