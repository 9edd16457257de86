"""What Square tries in l_2 and l_1: one window of the perturbation gives its share to another.

Source: Andriushchenko et al. 2020 (arXiv:1912.00049), section 3.4, as AutoAttack has it, its l_1
form included: `autoattack/square.py` of fra31/auto-attack at a392200.

The search starts from 5 x 5 tiles of a pattern, each of a random sign for each channel. The pattern
is two halves of concentric rectangles, one positive and one negative, whose values fall from the
middle outwards, upright or lying by chance. A query adds the pattern to what one window holds,
stretched to the norm that the two windows and the unused rest of the ball have, and empties a
second window.

Deviations:
  - Each example draws its own windows. Theirs share the windows and how the pattern lies in a
    batch.
  - A window may be anywhere it fits, the last row and column of corners included.
  - Tiles that do not fit into an image of other sides than 5 n to 6 n are left out; theirs fails.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from fsgan_tf.norms.base import per_example
from fsgan_tf.threat_model import ThreatModel

_POWERS = {"l2": 2, "l1": 1}
# How steeply a pattern falls from its middle.
_FALLS = {"l2": 2, "l1": 4}
_LEAST_SIDE, _TILES = 3, 5
_TINY = 1e-12
# Of the numbers drawn for a query: two corners and how the pattern lies; the signs follow.
_CORNERS, _LIES = 4, 4


def pattern(side: int, norm: str) -> np.ndarray:
    """The pattern of a window, upright, of norm 1.

    Args:
      side: of the window, pixels.
      norm: `l2` or `l1`.

    Returns:
      float32 `[side, side]`.
    """
    half = side // 2
    whole = np.zeros((side, side))
    whole[:half] = _rectangles(half, side, norm)
    whole[half:] = -_rectangles(side - half, side, norm)
    return (whole / np.linalg.norm(whole.ravel(), _POWERS[norm])).astype(np.float32)


def _rectangles(height: int, width: int, norm: str) -> np.ndarray:
    """Concentric rectangles whose values rise towards the middle, of norm 1."""
    found = np.zeros((height, width))
    rows, columns = height // 2 + 1, width // 2 + 1
    top, left = rows - 1, columns - 1
    for ring in range(max(rows, columns)):
        covered = (
            slice(max(top - ring, 0), min(top + ring + 1, height)),
            slice(max(left - ring, 0), min(left + ring + 1, width)),
        )
        found[covered] += 1 / (ring + 1) ** _FALLS[norm]
    total = np.linalg.norm(found.ravel(), _POWERS[norm])
    return found / total if total else found


class Windows:
    """Proposals of `square`, whose `shapes` are the windows' sides and patterns."""

    def shapes(
        self, sides: Sequence[int], image_size: tuple[int, int], norm: str
    ) -> tuple[tf.Tensor, ...]:
        """int32 `[s]` odd sides of at least 3, and float32 `[s, 2, h, w]`, zero beyond each."""
        height, width = image_size
        odd = [min(max(side, _LEAST_SIDE) // 2 * 2 + 1, height, width) for side in sides]
        patterns = np.zeros((len(odd), 2, height, width), np.float32)
        for number, side in enumerate(odd):
            upright = pattern(side, norm)
            patterns[number, :, :side, :side] = upright, upright.T
        return tf.constant(odd), tf.constant(patterns)

    def num_draws(self, shape: tf.TensorShape) -> tuple[list[int], int]:
        """Of a tile how it lies and its signs; of a query two corners, how it lies, and signs."""
        _, height, width, channels = shape
        return [len(_tiles(height, width)), 1 + channels], _LIES + 1 + channels

    def start(self, threat_model: ThreatModel, images: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Tiles of patterns, each of its own signs."""
        _, height, width, _ = images.shape
        corners = _tiles(height, width)
        side = _tile_side(height, width)
        upright = pattern(side, threat_model.norm)
        number = np.zeros((height, width), np.int32)
        laid = np.zeros((2, height, width), np.float32)
        for index, (top, left) in enumerate(corners):
            place = slice(top, top + side), slice(left, left + side)
            number[place] = index
            laid[:, place[0], place[1]] = upright, upright.T
        of_pixels = tf.gather(uniform, number, axis=1)
        values = tf.where(of_pixels[..., 0] < 0.5, laid[0], laid[1])[..., tf.newaxis]
        return _placed(threat_model, images, values * tf.sign(of_pixels[..., 1:] - 0.5))

    def changed(
        self,
        threat_model: ThreatModel,
        images: tf.Tensor,
        best: tf.Tensor,
        uniform: tf.Tensor,
        area: tf.Tensor,
        shapes: tuple[tf.Tensor, ...],
    ) -> tf.Tensor:
        """The best images with a window's share moved to another one."""
        sides, patterns = shapes
        side, channels = sides[area], images.shape[-1]
        power = _POWERS[threat_model.norm]
        deltas = best - images
        filled, rows, columns = _window(uniform[:, :2], side, images.shape)
        emptied, _, _ = _window(uniform[:, 2:_CORNERS], side, images.shape)

        def norms(values: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
            """Of each channel, `[b, 1, 1, c]`, to the power."""
            inside = tf.where(where, tf.abs(values) ** power, 0.0)
            return tf.reduce_sum(inside, axis=[1, 2], keepdims=True)

        lies = tf.cast(uniform[:, _LIES] >= 0.5, tf.int32)
        laid = tf.gather(patterns[area], lies)
        laid = tf.gather(tf.gather(laid, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
        signs = tf.sign(uniform[:, tf.newaxis, tf.newaxis, _LIES + 1 :] - 0.5)
        held = deltas / (_TINY + norms(deltas, filled) ** (1 / power))
        mixed = laid[..., tf.newaxis] * signs + held
        mixed /= _TINY + norms(mixed, filled) ** (1 / power)
        unused = (
            threat_model.epsilon**power - per_example(threat_model.size(deltas), images) ** power
        )
        share = tf.maximum(unused, 0.0) / channels + norms(deltas, filled | emptied)
        # In l_1 the authors' code gives each channel as much as its share is of all.
        stretched = mixed * (share ** (1 / power) if power == 2 else share * channels)
        moved = tf.where(filled, stretched, tf.where(emptied, 0.0, deltas))
        return _placed(threat_model, images, moved)


def _placed(threat_model: ThreatModel, images: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
    """Perturbations, in l_2 stretched to the radius, on their images."""
    if threat_model.norm == "l2":
        sizes = per_example(threat_model.size(deltas), images)
        deltas = threat_model.epsilon * deltas / (sizes + _TINY)
    return images + deltas


def _tile_side(height: int, width: int) -> int:
    """A fifth of the height, as the authors have it, where the width allows that."""
    return min(max(height // _TILES, 1), width)


def _tiles(height: int, width: int) -> list[tuple[int, int]]:
    """Upper left corners of the tiles of the start."""
    side = _tile_side(height, width)
    margin = max((height - side * _TILES) // 2, 0)
    return [
        (top, left)
        for top in range(margin, height - side + 1, side)
        for left in range(min(margin, width - side), width - side + 1, side)
    ]


def _window(
    uniform: tf.Tensor, side: tf.Tensor, shape: tf.TensorShape
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A window in each image by two uniform numbers.

    Returns:
      Whether a pixel is inside, bool `[b, h, w, 1]`; and of each row and column of the image the
      one of the window, int32 `[b, h]` and `[b, w]`, some number where it has none.
    """
    _, height, width, _ = shape

    def offsets(uniform: tf.Tensor, size: int) -> tf.Tensor:
        corner = tf.cast(uniform * tf.cast(size - side + 1, tf.float32), tf.int32)
        return tf.range(size) - corner[:, tf.newaxis]

    rows, columns = offsets(uniform[:, 0], height), offsets(uniform[:, 1], width)
    inside_rows, inside_columns = ((x >= 0) & (x < side) for x in (rows, columns))
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    return inside, tf.clip_by_value(rows, 0, height - 1), tf.clip_by_value(columns, 0, width - 1)


WINDOWS = Windows()
