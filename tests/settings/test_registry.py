"""The files of a package as choices."""

from fsgan_tf import methods
from fsgan_tf.networks import classifiers


def test_every_method_and_architecture_is_a_choice_and_their_parts_are_none():
    assert {"fs_gan", "standard"} <= set(methods.names())
    assert not {"base", "parts"} & set(methods.names())
    assert "wide_resnet" in classifiers.names()
