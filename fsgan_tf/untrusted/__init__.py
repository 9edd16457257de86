"""What a model file from elsewhere must pass before it is loaded: no code, no foreign paths.

It is checked without running anything of it. That is not a sandbox: a model may still compute for
ever, and the parsers of TensorFlow and HDF5 themselves are trusted.
"""
