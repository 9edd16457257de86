"""SPSA: Adam on gradients estimated from function values, batched over images.

Source: Uesato et al. 2018, arXiv:1802.05666, with the semantics of CleverHans 4.0.0,
`cleverhans/tf2/attacks/spsa.py`, whose own optimiser does not start on Keras 3.

Deviations:
  - Images are attacked in batches; theirs one by one.
  - The estimate is made from the difference of each mirrored pair, which is the mean over all
    samples of theirs but for rounding.
  - The random start is judged too, and where no iterate is misclassified, that of the lowest margin
    is returned. Theirs returns the first misclassified iterate after the start (with a threshold of
    0), else the last one.
  - There is one batch of samples an update (`spsa_iters=1`, their default).
  - The FS-GAN paper has "a batch size of 128" and 1000 iterations. 128 is read as the samples that
    one update of one image takes (`spsa_samples`, 128 by their default too), not as images attacked
    at once, which would change no figure; Uesato et al. take up to 8192. The paper names no
    learning rate and no delta, which are CleverHans' 0.01 here.

In l_2 an update is as in l_inf, whose rate is in pixels, and then projected to the ball.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.attacks.parts.attack import Access, Attack, Attempt, Wanted, parameters_of
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.attacks.parts.losses import true_class_lead
from fsgan_tf.attacks.parts.lowest_margin import Best, judged, unjudged
from fsgan_tf.attacks.parts.projected_gradient import Climb, random_start
from fsgan_tf.settings import Settings
from fsgan_tf.threat_model import ThreatModel

NAME = "spsaN"
HELP = "N steps along gradients estimated from outputs"
ACCESS = "outputs"
NORMS = ("linf", "l2")

_BETA_1, _BETA_2, _ADAM_EPSILON = 0.9, 0.999, 1e-7


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    return [SPSA(wanted.name, num_steps=wanted.num_steps)]


@dataclasses.dataclass(frozen=True)
class SPSA:
    """Simultaneous perturbation stochastic approximation of the margin's gradient, with Adam.

    Attributes:
      name: as in `--attacks`.
      num_steps: updates of one restart.
      num_samples: images the classifier sees for an update of one image; even.
      learning_rate: of Adam, pixel units.
      delta: distance of the samples from the iterate in each pixel.
      restarts: independent runs; only chance tells them apart.
      max_batch: most samples that pass the classifier at once, at least 2; bounds memory.
    """

    name: str
    num_steps: int
    num_samples: int = 128
    learning_rate: float = 0.01
    delta: float = 0.01
    restarts: int = 1
    max_batch: int = 1024

    def __post_init__(self) -> None:
        if self.num_samples < 2 or self.num_samples % 2:
            raise ValueError(f"num_samples is {self.num_samples}; it must be even and at least 2")
        if self.max_batch < 2:
            raise ValueError(f"max_batch is {self.max_batch}; a mirrored pair needs at least 2")

    access: ClassVar[Access] = "outputs"

    @property
    def cost(self) -> int:
        """Half the samples: a forward pass takes about half as long as a gradient."""
        return self.num_steps * self.num_samples // 2 * self.restarts

    @property
    def parameters(self) -> dict[str, Any]:
        """What results.json says of this attack."""
        return parameters_of(self, "max_batch")

    def run(
        self,
        classifier: AttackedClassifier,
        threat_model: ThreatModel,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        restart: int,
    ) -> Attempt:
        """Descends once from a fresh start; see `Attack.run`."""
        del restart  # The seeds already tell it.
        start = random_start(threat_model, images, seeds)
        path = self.descend(classifier, threat_model, images, start, labels, seeds)
        return path.attempt

    def descend(
        self,
        classifier: AttackedClassifier,
        threat_model: ThreatModel,
        images: tf.Tensor,
        start: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
    ) -> Climb:
        """Lowers the margin from a given start, until every example is misclassified.

        Args:
          classifier: what is attacked.
          threat_model: the ball and the pixel range.
          images: float32 `[b, h, w, c]` clean images within the pixel range.
          start: float32 `[b, h, w, c]` first iterate, within the ball and the range.
          labels: int32 `[b]` true labels.
          seeds: int64 `[b, 2]`, the stateless seed of each example's samples.

        Returns:
          The path.
        """
        num_pairs = self.num_samples // 2
        chunks = _Chunks(
            images=tf.constant(_largest_divisor(len(images), self.max_batch // self.num_samples)),
            pairs=_largest_divisor(num_pairs, self.max_batch // 2),
            num_pairs=num_pairs,
        )
        return _descend(
            classifier,
            threat_model,
            chunks,
            images,
            start,
            labels,
            seeds,
            tf.constant(self.num_steps),
            tf.constant(self.learning_rate),
            tf.constant(self.delta),
        )


class _Chunks(NamedTuple):
    """How samples go through the classifier: `pairs` of `num_pairs` for `images` at once."""

    images: tf.Tensor
    pairs: int
    num_pairs: int


def _largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of a number within a limit; 1 if there is none."""
    return max(d for d in range(1, number + 1) if number % d == 0 and d <= max(limit, 1))


class _State(NamedTuple):
    """The loop's variables; `mean` and `square` are Adam's moments."""

    step: tf.Tensor
    iterate: tf.Tensor
    mean: tf.Tensor
    square: tf.Tensor
    best: Best


@for_any_batch_size
def _descend(
    classifier: AttackedClassifier,
    threat_model: ThreatModel,
    chunks: _Chunks,
    images: tf.Tensor,
    start: tf.Tensor,
    labels: tf.Tensor,
    seeds: tf.Tensor,
    num_steps: tf.Tensor,
    learning_rate: tf.Tensor,
    delta: tf.Tensor,
) -> Climb:
    def goes_on(state: _State) -> tf.Tensor:
        return (state.step < num_steps) & ~tf.reduce_all(state.best.success)

    def step(state: _State) -> tuple[_State]:
        gradient = _estimate(classifier, chunks, state.iterate, labels, seeds, state.step, delta)
        mean = _BETA_1 * state.mean + (1 - _BETA_1) * gradient
        square = _BETA_2 * state.square + (1 - _BETA_2) * gradient**2
        count = tf.cast(state.step + 1, tf.float32)
        unbiased_mean = mean / (1 - _BETA_1**count)
        unbiased_square = square / (1 - _BETA_2**count)
        move = learning_rate * unbiased_mean / (tf.sqrt(unbiased_square) + _ADAM_EPSILON)
        iterate = threat_model.project(state.iterate - move, images)
        best = judged(state.best, iterate, labels, classifier)
        return (_State(state.step + 1, iterate, mean, square, best),)

    first = _State(
        step=tf.constant(0),
        iterate=start,
        mean=tf.zeros_like(images),
        square=tf.zeros_like(images),
        best=judged(unjudged(start), start, labels, classifier),
    )
    (end,) = tf.while_loop(goes_on, step, [first])
    return Climb(end.best.images, end.best.success, end.iterate)


def _estimate(
    classifier: AttackedClassifier,
    chunks: _Chunks,
    iterates: tf.Tensor,
    labels: tf.Tensor,
    seeds: tf.Tensor,
    step: tf.Tensor,
    delta: tf.Tensor,
) -> tf.Tensor:
    """CleverHans' estimate of the margin's gradient: the samples' mean of margin times sign.

    Returns:
      float32 `[b, h, w, c]`, about `delta` times the gradient.
    """
    shape = iterates.shape[1:]

    def draw_signs(seed: tf.Tensor) -> tf.Tensor:
        step_seed = tf.random.fold_in(seed, tf.cast(step, seed.dtype), alg="philox")
        return tf.sign(stateless_random.uniform([chunks.num_pairs, *shape], step_seed) - 0.5)

    def estimate_of_group(group: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        iterates, labels, seeds = group
        signs = tf.map_fn(
            draw_signs, seeds, fn_output_signature=tf.TensorSpec([chunks.num_pairs, *shape])
        )

        def add_chunk(total: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
            chunk = signs[:, first : first + chunks.pairs]
            chunk = tf.ensure_shape(chunk, [None, chunks.pairs, *shape])
            return total + _sum_over_pairs(classifier, iterates, labels, chunk, delta)

        firsts = tf.range(0, chunks.num_pairs, chunks.pairs)
        # One chunk at a time, or memory would hold several.
        total = tf.foldl(add_chunk, firsts, tf.zeros_like(iterates), parallel_iterations=1)
        return total / (2 * chunks.num_pairs)

    def in_groups(tensor: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tensor, [-1, chunks.images, *tensor.shape[1:]])

    estimates = tf.map_fn(
        estimate_of_group,
        (in_groups(iterates), in_groups(labels), in_groups(seeds)),
        fn_output_signature=tf.TensorSpec([None, *shape]),
        parallel_iterations=1,
    )
    return tf.reshape(estimates, [-1, *shape])


def _sum_over_pairs(
    classifier: AttackedClassifier,
    iterates: tf.Tensor,
    labels: tf.Tensor,
    signs: tf.Tensor,
    delta: tf.Tensor,
) -> tf.Tensor:
    """Sums sign times difference of margins over mirrored pairs.

    Args:
      classifier: what is attacked.
      iterates: float32 `[g, h, w, c]`.
      labels: int32 `[g]`.
      signs: float32 `[g, p, h, w, c]`, directions of the pairs.
      delta: distance of the samples from the iterate in each pixel.

    Returns:
      float32 `[g, h, w, c]`.
    """
    _, pairs, *shape = signs.shape
    centres = iterates[:, None]
    samples = tf.stack([centres + delta * signs, centres - delta * signs], axis=1)
    logits = classifier.logits(tf.reshape(samples, [-1, *shape]))
    margins = tf.reshape(true_class_lead(tf.repeat(labels, 2 * pairs), logits), [-1, 2, pairs])
    differences = margins[:, 0] - margins[:, 1]
    return tf.reduce_sum(differences[:, :, None, None, None] * signs, axis=1)
