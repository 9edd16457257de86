"""A whole evaluation: the attacks run, then the checks say whether the figures can be believed."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from fsgan_tf.attacks import registry, suites
from fsgan_tf.attacks.parts import random_draws
from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, LogitsFn
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.evaluation import arguments, radii
from fsgan_tf.evaluation import checks as all_checks
from fsgan_tf.evaluation.checks import smaller_radii
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.request import Radius, Request
from fsgan_tf.evaluation.result import Result
from fsgan_tf.evaluation.state import EvaluationState
from fsgan_tf.models import in_memory
from fsgan_tf.results.findings import Check
from fsgan_tf.threat_model import ThreatModel


def evaluate(
    classifier: LogitsFn | keras.Model | Sequence[AttackedClassifier],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: float | Sequence[float],
    norm: str = "linf",
    suite: str = "quick",
    attacks: str | Sequence[str | Attack] | None = None,
    sources: Sequence[TransferSource] = (),
    batch_size: int = 128,
    seed: int = 0,
    standalone: bool | None = None,
    checks: str = "full",
    eot: int | None = None,
    progress: bool = False,
    input_range: str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    channel_order: str | None = None,
    output: str | None = None,
    output_name: str | None = None,
    **settings: Any,
) -> Result:
    """Measures a classifier's robust accuracy and checks whether the figure can be believed.

    Args:
      classifier: float32 `[b, h, w, c]` images in [0, 1] to `[b, k]` logits, for any b,
        differentiable and in inference mode; or a Keras model; or copies of one classifier, each on
        a device of its own, which share the batches.
      images: `[n, h, w, c]`, uint8, or floating-point numbers in [0, 1]; an array, a tensor or
        nested lists.
      labels: integers `[n]`, likewise.
      epsilon: radius of the ball, in the norm's unit, of pixels in [0, 1]: such as 8/255 in l_inf,
        0.5 in l_2 and 12 in l_1; or several radii, for the result at the largest one with the
        others in `Result.smaller`.
      norm: that measures perturbations: `linf`, `l2` or `l1`.
      suite: one of `attacks.suites.SUITES`.
      attacks: instead of a suite, names such as `pgd20`, or attacks, each with a name of its own.
        With several radii an attack keeps the `step_size` that it was made with at each of them;
        one that is asked for by its name gets one for each radius. Names may also come in one
        text, with commas between them.
      sources: other classifiers, which transfer attacks make their images against and the checks
        compare with.
      batch_size: images attacked together.
      seed: of the random starts.
      standalone: see `Request`; by default as the suite has it.
      checks: how much is checked, `full`, `fast` or `none`; see `evaluation.checks`.
      eot: of a classifier whose answers differ from call to call, over how many calls each gradient
        and loss is averaged, 20 say. A function may then take `seed` beside the images, int64
        `[2]`, a new one at each call, for stateless draws. TensorFlow's global seed is set.
      progress: show a progress bar, or one line for each attack where the output is not a terminal.
      input_range: pixels that the classifier takes, as `--input_range`: `0,1`, `0,255` or `-1,1`.
        This and the next five adapt one classifier, a Keras model or a function, as the command
        adapts a file; where none is given it is attacked as it is.
      mean: subtracted from the pixels, in units of `input_range`: one number, or one a channel.
      std: divided by, likewise.
      channel_order: `rgb` or `bgr`.
      output: what the classifier returns, `logits` or `probabilities`; one score is then taken for
        a binary classifier's. With any of these, a final softmax or sigmoid of a Keras model is cut
        off.
      output_name: of a Keras model with several outputs, the name of the one to take; by default
        the one named as `output` says.
      **settings: of the attacks, such as `restarts` and `step_size` of pgdN and cwN.

    Returns:
      The result, checks included.

    Raises:
      UserError: the images, labels or attacks are not as above, or there is no such suite or
        attack.
    """
    arguments.require_settings(
        suite=suite, norm=norm, checks=checks, batch_size=int(batch_size), seed=int(seed), eot=eot
    )
    largest, *smaller = arguments.as_radii(epsilon, norm)
    if isinstance(attacks, str):
        attacks = attacks.split(",")
    attacked_by = suite if attacks is None else None
    chosen = functools.partial(_chosen, suite, attacks, sources, {"norm": norm, **settings})
    request = Request(
        ThreatModel(largest, norm=norm),
        chosen(largest),
        batch_size,
        seed,
        suites.runs_standalone(attacked_by, standalone),
        sources,
        checks,
        suites.averages_over(attacked_by, eot),
        [Radius(ThreatModel(radius, norm=norm), chosen(radius)) for radius in smaller],
    )
    if request.eot and not isinstance(classifier, (Sequence, keras.Model)):
        classifier = random_draws.with_own_seeds(classifier)
    adaptation: dict[str, Any] = {
        "input_range": input_range,
        "mean": mean,
        "std": std,
        "channel_order": channel_order,
        "output": output,
        "output_name": output_name,
    }
    if all(value is None for value in adaptation.values()):
        return measure(classifier, images, labels, request, progress=progress)
    adapted = in_memory.adapted(classifier, **adaptation)
    known = [adapted.upper_bound] if adapted.upper_bound else []
    return measure(adapted.logits_fn, images, labels, request, known=known, progress=progress)


def _chosen(
    suite: str,
    attacks: Sequence[str | Attack] | None,
    sources: Sequence[TransferSource],
    settings: dict[str, Any],
    epsilon: float,
) -> tuple[Attack, ...]:
    """The attacks that `evaluate` was asked for, within a radius; `settings` has the norm."""
    if attacks is None:
        return tuple(registry.suite(suite, epsilon, sources=sources, **settings))
    made = [attack for attack in attacks if not isinstance(attack, str)]
    names = [attack for attack in attacks if isinstance(attack, str)]
    if names or not made:
        made += registry.by_names(names, epsilon, sources=sources, **settings)
    return tuple(made)


def measure(
    classifier: LogitsFn | keras.Model | Sequence[AttackedClassifier],
    images: np.ndarray,
    labels: np.ndarray,
    request: Request,
    *,
    known: Sequence[Check] = (),
    state: EvaluationState | None = None,
    progress: bool = False,
) -> Result:
    """`evaluate`, of a request, with finished batches on disk.

    Args:
      classifier: see `evaluate`.
      images: see `evaluate`.
      labels: see `evaluate`.
      request: how to attack.
      known: checks of the classifier that were made before, which the result has first.
      state: finished batches of this very evaluation, which are not run again; new ones join them.
      progress: see `evaluate`.

    Returns:
      The result, checks included.

    Raises:
      UserError: the images or labels do not fit, or two attacks share a name.
    """
    images, labels = arguments.as_examples(images, labels)
    arguments.require_radius(request.threat_model, images.shape[1:])
    arguments.require_names(request.attacks)
    classifier = arguments.as_classifier(classifier, images[:1])
    evaluator = Evaluator(
        classifier,
        request.threat_model,
        min(request.batch_size, max(len(images), 1)),
        eot=request.eot,
    )
    result = evaluator.attack(
        images,
        labels,
        request.attacks,
        seed=request.seed,
        standalone=request.standalone,
        state=state,
        progress=progress,
    )
    if request.smaller:
        result = radii.with_smaller(
            result, evaluator, images, labels, request, state=state, progress=progress
        )
    gradients = sum(attack.cost for attack in request.attacks) * int(result.robust.sum())
    together = min(all_checks.LARGEST_SAMPLE, evaluator.batch_size)
    checker = Evaluator(evaluator.copies, request.threat_model, together)
    diagnosis = all_checks.diagnose(
        checker,
        images,
        labels,
        request.attacks,
        result,
        request.sources,
        first=all_checks.sample_size(gradients),
        mode=request.checks,
        state=state,
        progress=progress,
    )
    of_radii = smaller_radii.checks(result) if request.checks != "none" else []
    found = (*known, *of_radii, *diagnosis.checks)
    return dataclasses.replace(result, diagnosis=dataclasses.replace(diagnosis, checks=found))
