"""Tests that take minutes and whose like runs every time: `make test-long` runs them as well."""

import os

import pytest

long_only = pytest.mark.skipif("UNDERSTUDY_LONG" not in os.environ, reason="takes minutes: make test-long")
