"""From pixels in [0, 1] to what a model takes."""

import numpy as np
import pytest

from fsgan_tf.errors import UserError
from fsgan_tf.models.preprocessing import Preprocessing

PIXELS = np.random.default_rng(0).random((2, 3, 4, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        (Preprocessing(), PIXELS),
        (Preprocessing("-1,1"), 2 * PIXELS - 1),
        (Preprocessing(mean=(0.5,), std=(0.25,)), (PIXELS - 0.5) / 0.25),
        (
            Preprocessing(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0)),
            (PIXELS - [0.1, 0.2, 0.3]) / [1, 2, 4],
        ),
        (Preprocessing("0,255", std=(255.0,)), PIXELS),
        (
            Preprocessing("0,255", mean=(103.0, 116.0, 123.0), channel_order="bgr"),
            255 * PIXELS[..., ::-1] - [103, 116, 123],
        ),
    ],
    ids=str,
)
def test_pixels(preprocessing, expected):
    np.testing.assert_allclose(preprocessing(PIXELS), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_range": "0,2"}, "--input_range=0,2"),
        ({"channel_order": "rbg"}, "--channel_order=rbg"),
        ({"mean": (0.1, 0.2)}, "--mean has 2 numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "--std=1,0,1 must be above 0"),
    ],
)
def test_values_that_mean_nothing(options, words):
    with pytest.raises(UserError, match=words):
        Preprocessing(**options)


def test_channels_that_do_not_fit():
    with pytest.raises(UserError, match="--mean=1,2,3 has 3 numbers; m takes images of 1 channels"):
        Preprocessing(mean=(1.0, 2.0, 3.0)).require_channels(1, "m")
    with pytest.raises(UserError, match="--channel_order=bgr needs 3 channels"):
        Preprocessing(channel_order="bgr").require_channels(1, "m")
