"""Programs of XLA in files, which run where there is no TensorFlow."""
