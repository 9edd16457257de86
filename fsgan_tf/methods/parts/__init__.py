"""What only the training methods use."""
