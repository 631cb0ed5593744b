"""Simulates how often the gate is wrong, and how soon it decides."""
