"""The names that checkpoints have for a network's variables."""

import keras
import pytest
from keras import layers

from fsgan_tf import methods
from fsgan_tf.networks.weights import stable_paths
from tests.small_training import build


@pytest.mark.parametrize("name", methods.names())
def test_our_networks_variables_keep_their_own_paths(name):
    for network in build(name).networks.values():
        assert list(stable_paths(network)) == [variable.path for variable in network.variables]


def test_layers_without_names_are_counted_in_their_model():
    def network():
        block = keras.Sequential([layers.Conv2D(2, 3), layers.BatchNormalization()])
        return keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Conv2D(2, 3), block, layers.Dense(2, name="dense_7")]
        )

    first, again = network(), network()
    assert [v.path for v in first.variables] != [v.path for v in again.variables]
    assert list(stable_paths(first)) == list(stable_paths(again))
    assert len(stable_paths(first)) == len(first.variables)
    assert {"sequential/conv2d/kernel", "sequential/dense/bias"} <= set(stable_paths(first))


def test_layers_of_one_name_in_two_models_are_both_there():
    def branch():
        inputs = keras.Input((8, 8, 1))
        return keras.Model(inputs, layers.Flatten()(layers.Conv2D(2, 3, name="conv")(inputs)))

    images = keras.Input((8, 8, 1))
    both = layers.Concatenate()([branch()(images), branch()(images)])
    network = keras.Model(images, layers.Dense(2, name="logits")(both))
    assert len({variable.path for variable in network.variables}) < len(network.variables)
    paths = stable_paths(network)
    assert list(map(id, paths.values())) == list(map(id, network.variables))
