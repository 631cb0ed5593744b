"""Compares the accuracy of each family under load with its cards."""
