"""Square Attack: random search with squares, no gradients; in l_2 and l_1 with windows.

Source: Andriushchenko et al. 2020, arXiv:1912.00049, as in AutoAttack: `autoattack/square.py` of
fra31/auto-attack at a392200. Its standard version is 5,000 queries, one restart, initial area 0.8,
and the schedule of 10,000 queries *not* rescaled (`resc_schedule=False` in `autoattack.py`), so
that its last squares have 1/128 of the initial area.

What is tried in l_2 and l_1 is in `parts/windows.py`.

Deviations:
  - Each example draws its own squares. Theirs share one square, colours included, in a batch.
  - A square's corner may be anywhere the square fits. Theirs leaves out the last row and column of
    corners, so that single pixels there are never changed alone.
  - An example is done when it is misclassified. Theirs also stops at a tie, whose winner may be the
    true class.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.attacks.parts.attack import Access, Attack, Attempt, Wanted, parameters_of
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.attacks.parts.lowest_margin import Best, judged, unjudged
from fsgan_tf.attacks.parts.windows import WINDOWS
from fsgan_tf.settings import Settings
from fsgan_tf.threat_model import ThreatModel

NAME = "square"
HELP = "AutoAttack's random search with squares, without gradients"
ACCESS = "outputs"
NORMS = ("linf", "l2", "l1")

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
        proposals: Proposals = _SQUARES if threat_model.norm == "linf" else WINDOWS
        return _search(
            classifier,
            proposals,
            threat_model,
            images,
            labels,
            seeds,
            tf.constant(self.num_queries),
            tf.constant(first_queries),
            proposals.shapes(sides, (height, width), threat_model.norm),
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


class Proposals(Protocol):
    """What the search tries; one object for each kind, since each is traced for itself."""

    def shapes(
        self, sides: Sequence[int], image_size: tuple[int, int], norm: str
    ) -> tuple[tf.Tensor, ...]:
        """What `changed` has to know of each area, `[s, ...]`."""
        ...

    def num_draws(self, shape: tf.TensorShape) -> tuple[list[int], int]:
        """Shape of the uniform numbers that an image's start takes, and how many a query takes."""
        ...

    def start(self, threat_model: ThreatModel, images: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """The first images, which are then projected."""
        ...

    def changed(
        self,
        threat_model: ThreatModel,
        images: tf.Tensor,
        best: tf.Tensor,
        uniform: tf.Tensor,
        area: tf.Tensor,
        shapes: tuple[tf.Tensor, ...],
    ) -> tf.Tensor:
        """Other images than the best, by a query's numbers `[b, d]`; they are then projected."""
        ...


class _Squares:
    """Vertical stripes, then squares of one sign per channel; `shapes` are their sides."""

    def shapes(
        self, sides: Sequence[int], image_size: tuple[int, int], norm: str
    ) -> tuple[tf.Tensor, ...]:
        del image_size, norm
        return (tf.constant(sides),)

    def num_draws(self, shape: tf.TensorShape) -> tuple[list[int], int]:
        """The signs of the stripes; a square's row, column and signs."""
        _, _, width, channels = shape
        return [1, width, channels], 2 + channels

    def start(self, threat_model: ThreatModel, images: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        return images + threat_model.epsilon * tf.sign(uniform - 0.5)

    def changed(
        self,
        threat_model: ThreatModel,
        images: tf.Tensor,
        best: tf.Tensor,
        uniform: tf.Tensor,
        area: tf.Tensor,
        shapes: tuple[tf.Tensor, ...],
    ) -> tf.Tensor:
        (sides,) = shapes
        signs = _signs_in_squares(uniform, sides[area], images.shape)
        return best + 2 * threat_model.epsilon * signs


_SQUARES = _Squares()


class _State(NamedTuple):
    """The loop's variables."""

    query: tf.Tensor
    best: Best


@for_any_batch_size
def _search(
    classifier: AttackedClassifier,
    proposals: Proposals,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    seeds: tf.Tensor,
    num_queries: tf.Tensor,
    first_queries: tf.Tensor,
    shapes: tuple[tf.Tensor, ...],
) -> Attempt:
    # Drawn beforehand: a draw for each example and query would outlast a small classifier.
    for_start, for_queries = _draw(proposals, images, seeds, num_queries)

    def judge(best: Best, changed: tf.Tensor) -> Best:
        candidates = threat_model.project(changed, images)
        return judged(best, candidates, labels, classifier)

    def goes_on(state: _State) -> tf.Tensor:
        return (state.query < num_queries) & ~tf.reduce_all(state.best.success)

    def step(state: _State) -> tuple[_State]:
        area = tf.reduce_sum(tf.cast(first_queries <= state.query, tf.int32)) - 1
        uniform = for_queries[:, state.query]
        best = state.best
        changed = proposals.changed(threat_model, images, best.images, uniform, area, shapes)
        return (_State(state.query + 1, judge(best, changed)),)

    start = judge(unjudged(images), proposals.start(threat_model, images, for_start))
    (end,) = tf.while_loop(goes_on, step, [_State(tf.constant(0), start)])
    return Attempt(end.best.images, end.best.success)


def _draw(
    proposals: Proposals, images: tf.Tensor, seeds: tf.Tensor, num_queries: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The uniform numbers of each example, from its own seed alone, `[b, ...]`."""
    start_shape, numbers = proposals.num_draws(images.shape)

    def draw(seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seed_of_start, seed_of_queries = stateless_random.split(seed, 2)
        return (
            stateless_random.uniform(start_shape, seed_of_start),
            stateless_random.uniform([num_queries, numbers], seed_of_queries),
        )

    specs = (tf.TensorSpec(start_shape, tf.float32), tf.TensorSpec([None, numbers], tf.float32))
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
