"""From the command to the loop of PGD it is a short way."""

import traceback
from pathlib import Path

import keras
import tensorflow as tf

import fsgan_tf
from fsgan_tf import evaluate
from tests import commands

PACKAGE = Path(fsgan_tf.__file__).parent


def test_at_most_8_frames_from_the_command_to_the_loop(tmp_path, monkeypatch):
    # It answers class 0 to all images, so that there are some to attack.
    last = keras.layers.Dense(10, kernel_initializer="zeros")
    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), last]
    keras.Sequential(layers).save(tmp_path / "any.keras")
    ways = []
    loop = tf.while_loop

    def recorded(*arguments, **named):
        ways.append(
            [
                f"{Path(frame.filename).stem}.{frame.name}"
                for frame in traceback.extract_stack()
                if Path(frame.filename).is_relative_to(PACKAGE)
            ]
        )
        return loop(*arguments, **named)

    monkeypatch.setattr(tf, "while_loop", recorded)
    argv = [f"--keras_model={tmp_path / 'any.keras'}", "--dataset=digits", "--epsilon=0.1"]
    argv += ["--num_examples=64", "--attacks=pgd2", "--checks=none", f"--output_dir={tmp_path}"]
    assert commands.call(evaluate, *argv) == 0
    way = next(way for way in ways if way[-1].startswith("projected_gradient."))
    way = way[way.index("evaluate.main") :]
    assert len(way) <= 8, "\n".join(way)
