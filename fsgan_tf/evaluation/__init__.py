"""Measures robust accuracy, and checks whether to believe it."""
