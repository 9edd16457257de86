"""The networks: functional Keras models of built-in layers alone, so files of them load safely."""
