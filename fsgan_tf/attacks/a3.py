"""A3: margin steps from starts driven apart by directions of the logits (Liu et al., CVPR 2022).

Source: arXiv:2203.05154 and `Adaptive_Auto_Attack_main.py` of liuye6666/adaptive_auto_attack at
c3650cd. A restart starts at random in the ball, takes steps of length epsilon up the scalar product
of the logits with a direction, then steps up the margin, whose length falls along a cosine from
epsilon to epsilon/1000 (epsilon/10 where there are at most 10). The first restart takes no
direction, the second a random one; the direction of the others has 0.8 for one wrong class, a
random number, mostly of one sign, for the true class, and random numbers in (-1, 1) for the rest.
The wrong class is the second likeliest in the third restart and the next in each after it; the last
three restarts aim at the likeliest, the second and the third. Steps and draws are theirs (those for
classifiers that direction steps alone do not fool, and one restart of each kind). In l_2 the steps
go along the gradient, as theirs.

Deviations, since here an example's outcome depends on itself and its seed alone:
- Which signs the target's and the true class's weights have, theirs learn from the successes of the
  second restart over all images. Here every other restart takes the usual ones (up for the target,
  mostly down for the true class), and those between go through the other three pairs. The last
  three restarts, and from 100 classes on all, take the usual ones, as theirs do.
- Theirs change to many direction steps and few margin steps where direction steps alone fool 5% of
  the images. Here they do not.
- Theirs order images by the best margin, attack a falling share of them (at least 100), and repeat
  the last restarts 4, 4 and 50 times on those, at the next class each time, of four. Where under a
  tenth of the images stand, theirs repeat every restart 10 times more, on all that stand. Here 13
  restarts attack all that still stand, once each.
- Of ImageNet theirs take 10 steps more and repeat each restart once more, the last 32 times. Here
  the steps are the same for all images.
- Classes are ranked at the clean image; theirs at a random corner of the ball, which also counts
  as an attempt.
- A true class's weight is drawn for each example; theirs once a batch.
- The random start in l_2 is uniform in the ball. Theirs draws each value from (-epsilon, epsilon),
  far outside the ball, to which the first step then projects.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.attacks.parts import losses, scheduled_climb
from fsgan_tf.attacks.parts.attack import Access, Attack, Attempt, Wanted, parameters_of
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.attacks.parts.scheduled_climb import Schedule
from fsgan_tf.attacks.parts.targets import likeliest_wrong_class
from fsgan_tf.settings import Settings
from fsgan_tf.threat_model import ThreatModel

NAME = "a3"
HELP = "13 restarts of steps up the margin, each from a start that is driven to other logits"
ACCESS = "gradients"
NORMS = ("linf", "l2")

# Direction and margin steps of each restart: theirs add the 7 to what they call `max_iter`.
_DIRECTION_STEPS = (0, *[7] * 12)
_MARGIN_STEPS = (8, 15, 15, 32, 37, 37, 42, 47, 52, 57, 57, 62, 67)
# From here on the true class's weight may be lower, and the likeliest classes are aimed at again.
_FINAL = 10
# The target's weight, and the bounds of the true class's, for 10 classes.
_USUAL, _LAST = (0.8, -0.5, 0.1), (0.8, -0.8, 0.1)
_OTHERS = ((0.8, -0.1, 0.5), (-0.8, -0.1, 0.5), (-0.8, -0.5, 0.1))


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    return [AdaptiveAutoAttack(wanted.name)]


@dataclasses.dataclass(frozen=True)
class AdaptiveAutoAttack:
    """A3.

    Attributes:
      name: as in `--attacks`.
      direction_steps: of each restart.
      margin_steps: of each restart.
      restarts: at most as many as have steps.
    """

    name: str
    direction_steps: tuple[int, ...] = _DIRECTION_STEPS
    margin_steps: tuple[int, ...] = _MARGIN_STEPS
    restarts: int = len(_MARGIN_STEPS)

    access: ClassVar[Access] = "gradients"
    loss: ClassVar[str] = "margin"

    @property
    def cost(self) -> int:
        """Gradients spent on an image that no restart fools."""
        return sum(self.direction_steps[: self.restarts] + self.margin_steps[: self.restarts])

    @property
    def num_steps(self) -> int:
        """Gradients of the longest restart."""
        return max(map(sum, zip(self.direction_steps, self.margin_steps, strict=True)))

    @property
    def parameters(self) -> dict[str, Any]:
        """What results.json says of this attack."""
        return parameters_of(self)

    def once(self, num_steps: int) -> "AdaptiveAutoAttack":
        """See `Climbing.once`; its start is driven along random directions."""
        along = min(max(self.direction_steps), num_steps - 1)
        return dataclasses.replace(
            self, direction_steps=(along,), margin_steps=(num_steps - along,), restarts=1
        )

    def run(
        self,
        classifier: AttackedClassifier,
        threat_model: ThreatModel,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        restart: int,
    ) -> Attempt:
        """Climbs once from a fresh start; see `Attack.run`."""
        return scheduled_climb.climb(
            classifier,
            _loss,
            threat_model,
            images,
            labels,
            seeds,
            directions(classifier.logits(images), labels, seeds, restart),
            schedule(self.direction_steps[restart], self.margin_steps[restart]),
        )


def schedule(direction_steps: int, margin_steps: int) -> Schedule:
    """Step sizes in radii, and of each step the weights of the direction and of the margin.

    Args:
      direction_steps: first ones.
      margin_steps: the rest.

    Returns:
      `[n]` and `[n, 2]`, n being their sum.
    """
    least = 0.1 if margin_steps <= 10 else 0.001
    falling = (1 + np.cos(np.pi * np.arange(margin_steps) / (margin_steps + 1))) / 2
    sizes = np.concatenate([np.ones(direction_steps), least + (1 - least) * falling])
    is_margin = np.arange(len(sizes)) >= direction_steps
    return Schedule(sizes, np.stack([~is_margin, is_margin], axis=1))


def directions(logits: tf.Tensor, labels: tf.Tensor, seeds: tf.Tensor, restart: int) -> tf.Tensor:
    """The weights of the logits that the first steps of a restart climb.

    Args:
      logits: float32 `[b, k]` of the clean images.
      labels: int32 `[b]` true labels.
      seeds: int64 `[b, 2]`, from which the random start is drawn too.
      restart: from 0.

    Returns:
      float32 `[b, k]`.
    """
    num_classes = logits.shape[1]
    uniform = _uniform(seeds, num_classes + 1)
    weights = 2 * uniform[:, :num_classes] - 1
    if restart < 2:
        return weights
    target, lowest, highest = _signed(restart, num_classes)
    rank = restart - _FINAL if restart >= _FINAL else restart - 1
    aimed_at = likeliest_wrong_class(logits, labels, rank % _likeliest(num_classes))
    true = lowest + (highest - lowest) * uniform[:, num_classes]
    scale = num_classes / 10
    weights = tf.where(_is(labels, num_classes), scale * true[:, None], weights)
    return tf.where(_is(aimed_at, num_classes), scale * target, weights)


def _signed(restart: int, num_classes: int) -> tuple[float, float, float]:
    """The target's weight and the bounds of the true class's."""
    if restart >= _FINAL:
        return _LAST
    if num_classes >= 100 or restart % 2 == 0:
        return _USUAL
    return _OTHERS[restart // 2 % len(_OTHERS)]


def _likeliest(num_classes: int) -> int:
    """How many wrong classes are aimed at in turn, the likeliest ones."""
    wanted = 20 if num_classes >= 1000 else 14 if num_classes >= 100 else 9
    return min(wanted, num_classes - 1)


def _is(classes: tf.Tensor, num_classes: int) -> tf.Tensor:
    return tf.one_hot(classes, num_classes, on_value=True, off_value=False)


@for_any_batch_size
def _uniform(seeds: tf.Tensor, count: int) -> tf.Tensor:
    """Uniform numbers in (0, 1) of each example, `[b, count]`.

    The random start takes the seed as it is in l_inf, and the first two of its parts in l_2.
    """
    return tf.map_fn(
        lambda seed: stateless_random.uniform([count], stateless_random.split(seed, 3)[2]),
        seeds,
        fn_output_signature=tf.TensorSpec([count], tf.float32),
    )


def _loss(logits: tf.Tensor, labels: tf.Tensor, guides: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    along = tf.reduce_sum(guides * logits, axis=1)
    return weights[0] * along - weights[1] * losses.true_class_lead(labels, logits)
