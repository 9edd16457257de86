"""Networks are the same whatever keras.json and the environment say."""

import json

import pytest

from tests.commands import python

_NETWORK = (
    "from fsgan_tf.networks.classifiers import wide_resnet\n"
    "import keras\n"
    "model = wide_resnet.build(\n"
    "    wide_resnet.Settings(), num_classes=3, image_shape=(8, 12, 3)\n"
    ")\n"
    "kinds = {variable.dtype for variable in model.variables}\n"
    "formats = {l.data_format for l in model.layers if hasattr(l, 'data_format')}\n"
    "print(keras.config.backend(), *kinds, *formats, keras.layers.Dense(2).compute_dtype)\n"
)


@pytest.fixture
def home(tmp_path):
    """A folder of Keras with settings that would make other networks."""
    settings = {"image_data_format": "channels_first", "floatx": "float16", "backend": "jax"}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", ""])
def test_networks_are_pinned(home, backend):
    done = python("-c", _NETWORK, env={"KERAS_HOME": str(home), "KERAS_BACKEND": backend})
    assert done.stdout == "tensorflow float32 channels_last float32\n", done.stderr


@pytest.mark.slow
def test_keras_on_another_backend_is_refused_in_one_line():
    code = "import keras; keras.config.backend = lambda: 'jax'; import fsgan_tf.networks.weights"
    done = python("-c", code)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("fsgan_tf.errors.UserError: Keras runs on jax, and fsgan_tf needs")
