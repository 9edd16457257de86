"""Classifiers from files, and into files."""
