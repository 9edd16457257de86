"""One new file is a new method or architecture, for the command and in Python; README's list."""

import json
import re

import pytest

from fsgan_tf import evaluate, methods, train
from fsgan_tf.cli import training_flags
from fsgan_tf.networks import classifiers
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.settings import fields_of
from tests.commands import ROOT, call, python
from tests.own_files import on_path

METHOD = '''
"""Trains on images with noise of both signs."""

import dataclasses

import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import TrainingMethod, accuracy
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.losses import smoothed_cross_entropy
from fsgan_tf.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.MethodSettings):
    noise_size: float = setting(1.0, "Size of the noise, in units of epsilon.", above=0, upper=1)


class SignNoise(TrainingMethod):
    """Descends the cross-entropy of noisy images."""

    settings: Settings
    reports = ("loss", "accuracy_on_adversarial")

    @property
    def forward_equivalents(self):
        """One descent."""
        return {"classifier": 3}

    def train_step(self, data):
        """One descent step."""
        (seed,) = self.step_seeds(1)
        images = self.perturb(data["image"], data["label"], seed)
        with tf.GradientTape() as tape:
            logits = self.classifier(images, training=True)
            loss = tf.reduce_mean(smoothed_cross_entropy(data["label"], logits))
        self.update(tape, loss, self.classifier_optimizer, self.classifier)
        return self.track(
            loss=loss, accuracy_on_adversarial=accuracy(data["label"], logits)
        )

    def perturb(self, images, labels, seed):
        """The noisy images."""
        del labels
        signs = tf.sign(stateless_random.uniform(tf.shape(images), seed) - 0.5)
        moved = images + self.settings.noise_size * self.threat_model.epsilon * signs
        return self.threat_model.project(moved, images)


METHOD = SignNoise
'''

ARCHITECTURE = '''
"""One convolution."""

import dataclasses

import keras

from fsgan_tf import settings
from fsgan_tf.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(settings.Settings):
    channels_out: int = setting(4, "Channels of the convolution.", lower=1)


def build(chosen, *, num_classes, image_shape, dtype="float32"):
    layers = keras.layers
    images = keras.Input(image_shape, name="image")
    x = layers.Conv2D(chosen.channels_out, 3, 4, dtype=dtype)(images)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(layers.ReLU(dtype=dtype)(x))
    return keras.Model(images, layers.Dense(num_classes, dtype="float32")(x), name="one_layer")
'''


@pytest.fixture
def path(tmp_path):
    """A folder of one's own, with a method and an architecture, for Python's path."""
    for place, text in (("methods/sign_noise", METHOD), ("networks/classifiers/one", ARCHITECTURE)):
        file = tmp_path / "mine" / "fsgan_tf" / f"{place}.py"
        file.parent.mkdir(parents=True)
        file.write_text(text.lstrip())
    return tmp_path / "mine"


def test_a_new_file_is_a_method_and_a_new_file_is_an_architecture(path, tmp_path):
    run, output = tmp_path / "run", tmp_path / "evaluation"
    words = ["--method=sign_noise", "--architecture=one", "--channels_out=3", "--noise_size=0.5"]
    words += ["--train_examples=32", "--batch_size=16", "--epochs=1", "--eval_examples=0"]
    with on_path(path, methods, classifiers):
        assert methods.SignNoise.__doc__.startswith("Descends")
        assert call(train, *words, f"--run_dir={run}") == 0
        words = [f"--run_dir={run}", "--attacks=fgsm", "--num_examples=8", "--checks=none"]
        assert call(evaluate, *words, f"--output_dir={output}") == 0
    flags = RunDirectory(run).flags_file.read_text()
    assert "--noise_size=0.5\n" in flags
    assert "--channels_out=3\n" in flags
    assert json.loads((output / "results.json").read_text())["num_examples"] == 8


def test_a_new_file_in_pythons_path_is_in_the_help(path):
    path = {"PYTHONPATH": f"{ROOT}:{path}"}
    done = python("-m", "fsgan_tf.train", "--help", "--method=sign_noise", env=path)
    assert "method sign_noise:\n" in done.stdout
    assert "  --noise_size: Size of the noise, in units of epsilon." in done.stdout
    refused = python("-m", "fsgan_tf.train", "--method=pgd_at", "--noise_size=1", env=path)
    assert refused.returncode == 2
    assert "--noise_size is not read by --method=pgd_at, only by sign_noise" in refused.stderr


def test_another_copy_of_the_package_on_pythons_path_adds_nothing(tmp_path):
    folder = tmp_path / "fsgan_tf" / "methods"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "stale.py").write_text("")
    code = "from fsgan_tf import methods; assert 'stale' not in methods.names()"
    assert python("-c", code, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"}).returncode == 0


@pytest.mark.parametrize("name", ["feature_scatter", "l2l", "l2l_da", "n_fgsm", "pgd_at", "trades"])
def test_a_method_of_others_says_where_it_departs_from_its_authors(name):
    """The first number of its own, halved; our own methods have nobody to depart from."""
    declared = methods.declared(name)
    own = declared.settings.__dict__["__annotations__"]
    changed = next(
        f"--{field.name}={field.default / 2}"
        for field in fields_of(declared.settings)
        if field.name in own and field.type is float
    )
    assert training_flags.parse([f"--method={name}"]).departures() == []
    (told,) = training_flags.parse([f"--method={name}", changed]).departures()
    assert told.startswith(f"{changed} (its authors: ")


def test_the_readme_lists_every_method_as_its_file_says():
    text = (ROOT / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE))
    rows = {name: row for name, row in rows.items() if name in methods.names()}
    told = {name: methods.declared(name).constants["TRAINS_ON"] for name in methods.names()}
    assert rows == told
