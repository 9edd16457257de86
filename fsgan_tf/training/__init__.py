"""The training loop: what happens around a method's steps."""
