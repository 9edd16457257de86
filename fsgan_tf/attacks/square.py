"""Square Attack in the l_inf ball: random search with squares, no gradients.

Source: Andriushchenko et al. 2020, arXiv:1912.00049, as in AutoAttack: `autoattack/square.py` of
fra31/auto-attack at a392200. Its standard version is 5,000 queries, one restart, initial area 0.8,
and the schedule of 10,000 queries *not* rescaled (`resc_schedule=False` in `autoattack.py`), so
that its last squares have 1/128 of the initial area.

Deviations:
  - Each example draws its own squares. Theirs share one square, colours included, in a batch.
  - A square's corner may be anywhere the square fits. Theirs leaves out the last row and column of
    corners, so that single pixels there are never changed alone.
  - An example is done when it is misclassified. Theirs also stops at a tie, whose winner may be the
    true class.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.attacks.parts.attack import Access, Attack, Attempt, Wanted, parameters_of
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.attacks.parts.losses import true_class_lead
from fsgan_tf.settings import Settings
from fsgan_tf.threat_model import ThreatModel

NAME = "square"
HELP = "AutoAttack's random search with squares, without gradients"
ACCESS = "outputs"

# Of 10,000 queries, the last ones of each area; thereafter it halves.
_LAST_QUERIES = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    return [Square(wanted.name, num_queries=5000, rescaled_schedule=False)]


@dataclasses.dataclass(frozen=True)
class Square:
    """Square Attack with the margin loss.

    Attributes:
      name: as in `--attacks`.
      num_queries: squares tried on an example in one restart.
      rescaled_schedule: whether the areas' schedule, made for 10,000 queries, is stretched to
        `num_queries`.
      initial_area: of a square, as a share of the image's.
      restarts: independent runs; only chance tells them apart.
    """

    name: str
    num_queries: int
    rescaled_schedule: bool
    initial_area: float = 0.8
    restarts: int = 1

    access: ClassVar[Access] = "outputs"

    @property
    def cost(self) -> int:
        """Half the queries: a forward pass takes about half as long as a gradient."""
        return max(1, self.num_queries // 2) * self.restarts

    @property
    def parameters(self) -> dict[str, Any]:
        """What results.json says of this attack."""
        return parameters_of(self)

    def run(
        self,
        classifier: AttackedClassifier,
        threat_model: ThreatModel,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        restart: int,
    ) -> Attempt:
        """Searches once from fresh stripes; see `Attack.run`."""
        del restart  # The seeds already tell it.
        _, height, width, _ = images.shape
        first_queries, sides = schedule(
            self.num_queries if self.rescaled_schedule else 10_000,
            self.initial_area,
            (height, width),
        )
        return _search(
            classifier,
            threat_model,
            images,
            labels,
            seeds,
            tf.constant(self.num_queries),
            tf.constant(first_queries),
            tf.constant(sides),
        )


def schedule(
    length: int, initial_area: float, image_size: tuple[int, int]
) -> tuple[list[int], list[int]]:
    """The sides of the squares, which shrink as the search goes on.

    Args:
      length: queries over which the schedule is spread.
      initial_area: of a square, as a share of the image's.
      image_size: height and width.

    Returns:
      Ten queries, counted from 0, and the side in pixels of the squares from each of them on.
    """
    height, width = image_size
    # In integers: a query q belongs to the next area once floor(q / length * 10000) > last.
    first_queries = [0, *(-(-(last + 1) * length // 10_000) for last in _LAST_QUERIES)]
    sides = []
    for halvings in range(len(first_queries)):
        side = round((initial_area / 2**halvings * height * width) ** 0.5)
        sides.append(min(max(side, 1), height, width))
    return first_queries, sides


class _State(NamedTuple):
    """The loop's variables; `margin` is float32 `[b]`, that of `best`."""

    query: tf.Tensor
    best: tf.Tensor
    margin: tf.Tensor
    success: tf.Tensor


@for_any_batch_size
def _search(
    classifier: AttackedClassifier,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    seeds: tf.Tensor,
    num_queries: tf.Tensor,
    first_queries: tf.Tensor,
    sides: tf.Tensor,
) -> Attempt:
    # Drawn beforehand: a draw for each example and query would outlast a small classifier.
    stripes, squares = _draw(images, seeds, num_queries)

    def judge(state: _State, changed: tf.Tensor) -> _State:
        """Keeps the changed images where they lower the margin; a first success for good."""
        candidates = threat_model.project(changed, images)
        wrong, margins = classifier.judge(
            candidates, labels, lambda logits: true_class_lead(labels, logits)
        )
        better = ~state.success & (wrong | (margins < state.margin))
        return state._replace(
            best=tf.where(better[:, None, None, None], candidates, state.best),
            margin=tf.where(better, margins, state.margin),
            success=state.success | wrong,
        )

    def goes_on(state: _State) -> tf.Tensor:
        return (state.query < num_queries) & ~tf.reduce_all(state.success)

    def step(state: _State) -> tuple[_State]:
        area = tf.reduce_sum(tf.cast(first_queries <= state.query, tf.int32)) - 1
        signs = _signs_in_squares(squares[:, state.query], sides[area], images.shape)
        judged = judge(state, state.best + 2 * threat_model.epsilon * signs)
        return (judged._replace(query=state.query + 1),)

    first = _State(
        query=tf.constant(0),
        best=images,
        margin=tf.fill(tf.shape(labels), float("inf")),
        success=tf.zeros_like(labels, tf.bool),
    )
    first = judge(first, images + threat_model.epsilon * tf.sign(stripes - 0.5))
    (end,) = tf.while_loop(goes_on, step, [first])
    return Attempt(end.best, end.success)


def _draw(
    images: tf.Tensor, seeds: tf.Tensor, num_queries: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Uniform numbers of each example, from its own seed alone.

    Returns:
      `[b, 1, w, c]` for the vertical stripes of the start, and `[b, num_queries, 2 + c]` for the
      squares: row and column of the corner, and the sign of each channel.
    """
    _, _, width, channels = images.shape

    def draw(seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for_stripes, for_squares = stateless_random.split(seed, 2)
        return (
            stateless_random.uniform([1, width, channels], for_stripes),
            stateless_random.uniform([num_queries, 2 + channels], for_squares),
        )

    specs = (
        tf.TensorSpec([1, width, channels], tf.float32),
        tf.TensorSpec([None, 2 + channels], tf.float32),
    )
    return tf.map_fn(draw, seeds, fn_output_signature=specs)


def _signs_in_squares(uniform: tf.Tensor, side: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """One square of one sign per channel in each image, 0 around it.

    Args:
      uniform: float32 `[b, 2 + c]` in (0, 1): row and column of the corner, signs.
      side: int32, of the squares, pixels.
      shape: of the images, `[b, h, w, c]`.

    Returns:
      float32 `[b, h, w, c]` of -1, 0 and 1.
    """
    _, height, width, _ = shape

    def inside(uniform: tf.Tensor, size: int) -> tf.Tensor:
        corner = tf.cast(uniform[:, None] * tf.cast(size - side + 1, tf.float32), tf.int32)
        pixels = tf.range(size)
        return (pixels >= corner) & (pixels < corner + side)

    rows = inside(uniform[:, 0], height)[:, :, None, None]
    columns = inside(uniform[:, 1], width)[:, None, :, None]
    signs = tf.sign(uniform[:, None, None, 2:] - 0.5)
    return tf.where(rows & columns, signs, 0.0)
