"""FAB: the smallest perturbation that carries an image over the boundary to one class.

Source: Croce & Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary
Attack", arXiv:1907.02044, algorithm 1 and section 2.3; in the targeted form and with the constants
of AutoAttack's standard version, fra31/auto-attack at a392200, `autoattack/fab_base.py`
(`attack_single_run`), `fab_pt.py` and `fab_projections.py`, in any of the three norms. Like that
version, this has no final search (the paper's last three steps towards the image) and starts at the
image.

Deviations:
  - Random restarts for one target are left out: the standard version has none.
  - The search for an image ends with its first crossing within epsilon; AutoAttack goes on to
    smaller norms, which no robust accuracy depends on (that of images rounded to 8 bits does, and
    may be lower there).
  - The length of a projection comes from the maximum of a list of quotients instead of bisection,
    and the hyperplane from z_t - z_y at the iterate instead of an offset from the origin, which
    float32 would round more; the solution is the same.
  - NaN logits count as misclassified, as everywhere here.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Access, Attack, Attempt, Wanted, parameters_of
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.attacks.parts.losses import targeted_margin
from fsgan_tf.attacks.parts.targets import likeliest_wrong_class
from fsgan_tf.settings import Settings
from fsgan_tf.threat_model import ThreatModel

NAME = "fab_t"
HELP = "AutoAttack's FAB at the 9 likeliest wrong classes"
ACCESS = "gradients"
NORMS = ("linf", "l2", "l1")

# Keeps the weight between two steps defined where both are zero.
_SMALLEST_STEP = 1e-8


class Crossing(NamedTuple):
    """Where a search crossed the boundary nearest to the image.

    Attributes:
      images: float32 `[b, h, w, c]` within the pixel range, of each example's iterates the
        misclassified one nearest to its image; the image itself where there is none.
      norms: float32 `[b]` of the perturbations; infinite where there is none.
    """

    images: tf.Tensor
    norms: tf.Tensor


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    return [
        FastAdaptiveBoundary(
            wanted.name, num_steps=100, alpha_max=0.1, eta=1.05, beta=0.9, restarts=9
        )
    ]


@dataclasses.dataclass(frozen=True)
class FastAdaptiveBoundary:
    """Targeted FAB, which minimises the norm and knows epsilon only to stop.

    AutoAttack's standard version: 100 steps, `alpha_max` 0.1, `eta` 1.05, `beta` 0.9, 9 restarts.

    Attributes:
      name: as in `--attacks`.
      num_steps: gradient steps of one restart.
      alpha_max: largest weight of the step from the image beside that from the iterate.
      eta: how far a step goes beyond the linearised boundary; 1 ends on it.
      beta: share of a perturbation that is kept where it is adversarial.
      restarts: runs, one for each target: the likeliest wrong class first. Those beyond the last
        wrong class find nothing.
    """

    name: str
    num_steps: int
    alpha_max: float
    eta: float
    beta: float
    restarts: int

    access: ClassVar[Access] = "gradients"

    @property
    def cost(self) -> int:
        """A step is a gradient and a forward pass, which lasts half as long."""
        return self.num_steps * self.restarts * 3 // 2

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
        """Searches once, towards the restart-th likeliest wrong class; see `Attack.run`."""
        del seeds  # Nothing is left to chance.
        logits = classifier.logits(images)
        if restart >= logits.shape[1] - 1:
            return Attempt(images, tf.zeros_like(labels, tf.bool))
        crossing = search(
            classifier,
            threat_model,
            images,
            labels,
            likeliest_wrong_class(logits, labels, restart),
            num_steps=self.num_steps,
            alpha_max=self.alpha_max,
            eta=self.eta,
            beta=self.beta,
            good_enough=threat_model.epsilon,
        )
        success = crossing.norms <= threat_model.epsilon
        return Attempt(tf.where(success[:, None, None, None], crossing.images, images), success)


def search(
    classifier: AttackedClassifier,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    targets: tf.Tensor,
    *,
    num_steps: int,
    alpha_max: float,
    eta: float,
    beta: float,
    good_enough: float,
) -> Crossing:
    """Follows the boundary between each example's class and its target towards the image.

    Args:
      classifier: what is attacked.
      threat_model: gives the norm and the pixel range.
      images: float32 `[b, h, w, c]` clean images within the pixel range.
      labels: int32 `[b]` true labels.
      targets: int32 `[b]` other classes. Misclassification as any class counts.
      num_steps: number of gradient steps.
      alpha_max: see `FastAdaptiveBoundary`.
      eta: see `FastAdaptiveBoundary`.
      beta: see `FastAdaptiveBoundary`.
      good_enough: a norm; an example keeps its first crossing of at most this, whatever the rest of
        the batch still searches, and the search ends once all have one.

    Returns:
      The nearest crossing found until then; of norm 0 where the image itself is misclassified.
    """
    return _search(
        classifier,
        threat_model,
        images,
        labels,
        targets,
        tf.constant(num_steps),
        tf.constant(alpha_max),
        tf.constant(eta),
        tf.constant(beta),
        tf.constant(good_enough),
    )


class _State(NamedTuple):
    """The loop's variables; images are flat, `[b, n]`, and `norms` is float32 `[b]`."""

    step: tf.Tensor
    iterate: tf.Tensor
    best: tf.Tensor
    norms: tf.Tensor


@for_any_batch_size
def _search(
    classifier: AttackedClassifier,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    targets: tf.Tensor,
    num_steps: tf.Tensor,
    alpha_max: tf.Tensor,
    eta: tf.Tensor,
    beta: tf.Tensor,
    good_enough: tf.Tensor,
) -> Crossing:
    image_shape = images.shape[1:]
    clean = tf.reshape(images, [-1, image_shape.num_elements()])

    def margins(logits: tf.Tensor) -> tf.Tensor:
        return targeted_margin(logits, labels, targets)

    def is_wrong(points: tf.Tensor) -> tf.Tensor:
        return classifier.judge(tf.reshape(points, [-1, *image_shape]), labels, margins)[0]

    def lead_of_target(points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """z_t - z_y and its gradient."""
        _, lead, gradient = classifier.loss_and_gradient(
            tf.reshape(points, [-1, *image_shape]), labels, margins
        )
        return lead, tf.reshape(gradient, tf.shape(points))

    def goes_on(state: _State) -> tf.Tensor:
        return (state.step < num_steps) & tf.reduce_any(state.norms > good_enough)

    def step(state: _State) -> tuple[_State]:
        iterate = state.iterate
        lead, gradient = lead_of_target(iterate)
        lead_at_image = lead + tf.reduce_sum(gradient * (clean - iterate), axis=1)
        step_on = threat_model.step_to_hyperplane(iterate, lead, gradient)
        step_from_image = threat_model.step_to_hyperplane(clean, lead_at_image, gradient)
        length_on = tf.maximum(threat_model.size(step_on), _SMALLEST_STEP)
        length_from_image = tf.maximum(threat_model.size(step_from_image), _SMALLEST_STEP)
        alpha = tf.minimum(length_on / (length_on + length_from_image), alpha_max)[:, None]
        mixed = (1 - alpha) * (iterate + eta * step_on) + alpha * (clean + eta * step_from_image)
        moved = threat_model.clip(mixed)
        # The judged point and the next point of a gradient differ where `beta` pulls back, so a
        # step takes two forward passes, as the authors' does.
        wrong = is_wrong(moved)
        norm = threat_model.size(moved - clean)
        smaller = wrong & (norm < state.norms) & (state.norms > good_enough)
        return (
            _State(
                step=state.step + 1,
                iterate=tf.where(wrong[:, None], clean + beta * (moved - clean), moved),
                best=tf.where(smaller[:, None], moved, state.best),
                norms=tf.where(smaller, norm, state.norms),
            ),
        )

    first = _State(
        step=tf.constant(0),
        iterate=clean,
        best=clean,
        norms=tf.where(is_wrong(clean), 0.0, float("inf")),
    )
    (end,) = tf.while_loop(goes_on, step, [first])
    return Crossing(tf.reshape(end.best, [-1, *image_shape]), end.norms)
