"""Sources of images, one a file; `fsgan_tf.data.registry` finds them."""
