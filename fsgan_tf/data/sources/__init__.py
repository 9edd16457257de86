"""Sources of images, one a file; `fsgan_tf.data.registry` finds them.

A file of yours joins them from anywhere on Python's path: with FOLDER in PYTHONPATH, the class of
FOLDER/fsgan_tf/data/sources/mine.py has the names of data sets that it owns.
"""

from fsgan_tf.settings.registry import extended_path

__path__ = extended_path(__path__, __name__)
