"""Generators of perturbations, one file each."""
