"""Runs attacks on the examples that still stand, and counts what is verified."""

import functools
import queue
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attack, Attempt
from fsgan_tf.attacks.parts.attacked_classifier import (
    AttackedClassifier,
    LogitsFn,
    is_misclassified,
)
from fsgan_tf.attacks.parts.batches import padded
from fsgan_tf.attacks.parts.losses import true_class_lead
from fsgan_tf.attacks.parts.sample import Sampling
from fsgan_tf.data.pixels import unit
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation import arguments
from fsgan_tf.evaluation.outcome import MostFooling, Outcome, Task
from fsgan_tf.evaluation.progress import AttackProgress
from fsgan_tf.evaluation.repeated_calls import CALLS, votes
from fsgan_tf.evaluation.result import Result
from fsgan_tf.evaluation.score import Score
from fsgan_tf.evaluation.state import EvaluationState
from fsgan_tf.results.findings import AdversarialExamples
from fsgan_tf.results.randomness import Randomness
from fsgan_tf.threat_model import ThreatModel

# What is drawn for: three traces, of which none must repeat another's draws.
_SEARCH, _VERIFICATION, _JUDGEMENT = 0, 1, 2


class Evaluator:
    """A classifier, wrapped and compiled once, to evaluate as often as its weights change."""

    def __init__(
        self,
        logits_fn: LogitsFn | keras.Model | Sequence[AttackedClassifier],
        threat_model: ThreatModel,
        batch_size: int,
        *,
        eot: int | None = None,
    ):
        """Wraps a classifier.

        Args:
          logits_fn: see `run_and_diagnose.evaluate`.
          threat_model: what a perturbation may be.
          batch_size: images attacked together; no batch is larger.
          eot: see `Request`; None leaves copies of a classifier as they are.
        """
        copies = logits_fn if isinstance(logits_fn, Sequence) else [AttackedClassifier(logits_fn)]
        self.copies = tuple(copy.averaged(eot) if eot else copy for copy in copies)
        self.classifier = self.copies[0]
        self.calls = CALLS if self.classifier.draws else 1
        # A trace of its own: what it draws chose no image.
        self._judge = self.classifier.averaged(self.classifier.draws)
        self.threat_model = threat_model
        self.batch_size = batch_size

    def attack(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        attacks: Sequence[Attack],
        *,
        seed: int = 0,
        standalone: bool = False,
        among: Mapping[str, np.ndarray] | None = None,
        state: EvaluationState | None = None,
        progress: bool = False,
    ) -> Result:
        """Runs attacks, cheap ones first; each restart on what those before it have not fooled.

        What happens to an example depends on the seed, the attack's name and the example's index,
        never on the batch size, on which other examples still stand, or on the number of devices;
        where answers differ from call to call, on its batch too, which shares the draws, and
        whether it is fooled, on the attack whose image of it fooled most.
        For the arguments see `run_and_diagnose.measure` and `Request`; `among`, by the name of an
        attack, says on which examples it is to run, bool `[n]`: the others count as withstanding.

        Returns:
          The result, without a diagnosis.

        Raises:
          UserError: the images or labels do not fit.
        """
        images, labels = arguments.as_examples(images, labels)
        clean_wrong, unanswered = self._clean_wrong(images, labels, seed)
        correct = 2 * clean_wrong < self.calls
        score = Score(
            correct,
            standalone=standalone,
            num_devices=len(self.copies),
            among=among,
            random=self.classifier.draws > 0,
        )
        outcome_of = functools.partial(self._outcome, images, labels, seed, state)
        for attack in sorted(attacks, key=lambda attack: attack.cost):
            score.begin(attack)
            if isinstance(attack, Sampling):
                standing = np.flatnonzero(score.standing)
                key = _random_key(seed, attack.name, 0)
                self.restart_draws(self.classifier, images, seed, _SEARCH, key)
                leads = self.leads(images, labels, standing)
                score.limit(attack.sample(standing, leads, seed))
            with AttackProgress(attack, shown=progress) as bar:
                for restart in range(attack.restarts):
                    bar.begin(restart, int(score.standing.sum()))
                    batches = enumerate(self.batches(np.flatnonzero(score.standing)))
                    tasks = [Task(attack, restart, *numbered) for numbered in batches]
                    for outcome in self._spread(outcome_of, tasks):
                        score.add(outcome)
                        bar.advance(len(outcome.indices), int(score.standing.sum()))
            score.end()
        found, randomness = score.examples(images, labels), None
        if score.most_fooling:
            chosen = score.most_fooling
            found, randomness = self._settled(images, labels, score, chosen, clean_wrong, seed)
        return Result(
            self.threat_model,
            seed,
            correct,
            score.results,
            found,
            labels=labels,
            randomness=randomness,
            unanswered=unanswered,
        )

    def _settled(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        score: Score,
        chosen: MostFooling,
        clean_wrong: np.ndarray,
        seed: int,
    ) -> tuple[AdversarialExamples, Randomness]:
        """Judges each example's most fooling image by calls that chose nothing, for the figures."""
        wrong, wrong_8bit = clean_wrong.copy(), clean_wrong.copy()
        predictions = np.zeros(len(labels), np.int32)
        self.restart_draws(self._judge, images, seed, _JUDGEMENT)
        for batch in self.batches(chosen.indices):
            pixels, targets = self.take(images, labels, batch)
            found = tf.constant(chosen.images(batch))
            wrong[batch], predictions[batch] = self._verify(self._judge, found, pixels, targets)
            rounded = self.threat_model.round_to_8_bits(found, pixels)
            wrong_8bit[batch], _ = self._verify(self._judge, rounded, pixels, targets)
        fooled = (2 * clean_wrong < self.calls) & (2 * wrong > self.calls)
        score.settle(chosen, fooled, fooled & (2 * wrong_8bit > self.calls))
        examples = chosen.collected(fooled, images, labels, predictions)
        return examples, Randomness(self.classifier.draws, self.calls, clean_wrong, wrong)

    def correct(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Which examples are classified correctly without attack, bool `[n]`."""
        wrong, _ = self._clean_wrong(images, labels, 0)
        return 2 * wrong < self.calls

    def _clean_wrong(
        self, images: np.ndarray, labels: np.ndarray, seed: int
    ) -> tuple[np.ndarray, int]:
        """Calls, of `calls`, that misclassify each example without attack, and how many are NaN.

        int64 `[n]`, and the number of examples on which the first call answers NaN.
        """
        wrong, unanswered = np.zeros(len(labels), np.int64), np.zeros(len(labels), bool)
        self.restart_draws(self.classifier, images, seed, _VERIFICATION)
        for batch in self.batches(np.arange(len(labels))):
            pixels, targets = self.take(images, labels, batch)
            logits = self.classifier.given_logits(pixels)
            self._require_known_labels(logits, labels)
            unanswered[batch] = np.isnan(logits).any(axis=1)
            wrong[batch] = is_misclassified(logits, targets).numpy()
            if self.calls > 1:
                wrong[batch] = votes(self.classifier, pixels, targets, self.calls).wrong
        arguments.require_answers(int(unanswered.sum()), len(labels))
        return wrong, int(unanswered.sum())

    def restart_draws(
        self, classifier: AttackedClassifier, images: np.ndarray, seed: int, *key: int
    ) -> None:
        """Lets the draws to come follow from a seed, whatever was drawn before.

        Does nothing where answers are taken not to differ. A TensorFlow operation such as
        `tf.random.normal` draws the same after each call, whatever the key; batches of which none
        is resumed alone are therefore drawn for one after another.

        Args:
          classifier: one of `copies`.
          images: those evaluated; the classifier is called on one of them the first time.
          seed: of the evaluation.
          *key: tells this place in the evaluation from others; first, what is done there.
        """
        if not classifier.draws:
            return
        if len(self.copies) == 1:
            # Operations draw by the global seed at their trace, and start over whenever it is set.
            # Several devices would start each other's draws over.
            tf.random.set_seed((2 * seed + key[0]) % 2**31)
        classifier.restart_draws((seed, *key), tf.constant(unit(images[:1])))

    def leads(self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """The true class's lead without attack, float32 `[n]`, of the examples at `indices`."""
        leads = np.zeros(len(labels), np.float32)
        for batch in self.batches(indices):
            pixels, targets = self.take(images, labels, batch)
            leads[batch] = true_class_lead(targets, self.classifier.logits(pixels))
        return leads[indices]

    def batches(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Splits indices `[n]` into full batches and a rest, `padded` by repeating its own."""
        for start in range(0, len(indices), self.batch_size):
            yield padded(indices[start : start + self.batch_size], self.batch_size)

    def take(
        self, images: np.ndarray, labels: np.ndarray, batch: np.ndarray
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The examples at indices `batch`: float32 images in [0, 1] and int32 labels."""
        return tf.constant(unit(images[batch])), tf.constant(labels[batch], tf.int32)

    def _spread(
        self, outcome_of: Callable[..., Outcome], tasks: Sequence[Task]
    ) -> Iterator[Outcome]:
        """The tasks' outcomes in order; the classifier's copies take them as they get free."""
        if len(self.copies) == 1:
            return map(functools.partial(outcome_of, self.classifier), tasks)
        return self._in_parallel(outcome_of, tasks)

    def _in_parallel(
        self, outcome_of: Callable[..., Outcome], tasks: Sequence[Task]
    ) -> Iterator[Outcome]:
        free: queue.SimpleQueue[AttackedClassifier] = queue.SimpleQueue()
        for copy in self.copies:
            free.put(copy)

        def run_where_free(task: Task) -> Outcome:
            copy = free.get()
            try:
                return outcome_of(copy, task)
            finally:
                free.put(copy)

        pool = ThreadPoolExecutor(len(self.copies))
        try:
            yield from pool.map(run_where_free, tasks)
        finally:
            pool.shutdown(cancel_futures=True)

    def _outcome(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        seed: int,
        state: EvaluationState | None,
        classifier: AttackedClassifier,
        task: Task,
    ) -> Outcome:
        """Attacks one batch on the classifier's device, unless the state has it from before."""
        outcome = state.read(task, images.shape[1:]) if state else None
        if outcome is not None:
            return outcome
        start = time.monotonic()
        key = _random_key(seed, task.attack.name, task.restart)
        with classifier.on_its_device():
            pixels, targets = self.take(images, labels, task.batch)
            indices = tf.constant(task.batch, tf.int64)
            seeds = tf.stack([tf.fill(indices.shape, key), indices], axis=1)
            self.restart_draws(classifier, images, seed, _SEARCH, key, task.number)
            attempt = task.attack.run(
                classifier, self.threat_model, pixels, targets, seeds, task.restart
            )
            self.restart_draws(classifier, images, seed, _VERIFICATION, key, task.number)
            outcome = self._verified(classifier, task, attempt, pixels, targets)
        outcome = outcome._replace(seconds=time.monotonic() - start)
        if state:
            state.write(task, outcome)
        return outcome

    def _verified(
        self,
        classifier: AttackedClassifier,
        task: Task,
        attempt: Attempt,
        images: tf.Tensor,
        labels: tf.Tensor,
    ) -> Outcome:
        """What of an attempt counts. The images that pad the batch are left out."""
        wrong_calls, predictions = self._verify(classifier, attempt.images, images, labels)
        fooled = 2 * wrong_calls > self.calls
        if self.calls > 1:
            again, _ = self._verify(classifier, attempt.images, images, labels)
            fooled &= 2 * again > self.calls
        rounded = self.threat_model.round_to_8_bits(attempt.images, images)
        wrong_8bit, _ = self._verify(classifier, rounded, images, labels)
        fooled_8bit = fooled & (2 * wrong_8bit > self.calls)
        count = len(task.examples)
        kept = np.arange(count) if self.calls > 1 else np.flatnonzero(fooled[:count])
        return Outcome(
            indices=task.examples,
            claimed=attempt.success.numpy()[:count],
            fooled=fooled[:count],
            fooled_8bit=fooled_8bit[:count],
            images=attempt.images.numpy()[kept],
            predictions=predictions[kept],
            seconds=0.0,
            wrong_calls=wrong_calls[: count if self.calls > 1 else 0],
        )

    def _verify(
        self,
        classifier: AttackedClassifier,
        found: tf.Tensor,
        images: tf.Tensor,
        labels: tf.Tensor,
    ) -> tuple[np.ndarray, np.ndarray]:
        """How many of `calls` misclassify images, none where infeasible, and as what; `[b]` each.

        By fresh calls of the classifier as it was given, not of the view that attacks climb.
        """
        wrong, predictions = votes(classifier, found, labels, self.calls)
        return wrong * self.threat_model.is_feasible(found, images).numpy(), predictions

    @staticmethod
    def _require_known_labels(logits: tf.Tensor, labels: np.ndarray) -> None:
        if logits.shape.rank != 2 or labels.max() >= logits.shape[1]:
            raise UserError(
                f"the classifier's output has shape {tuple(logits.shape)}, but the labels go up to "
                f"{labels.max()}; it must return one logit for each class"
            )


def _random_key(seed: int, attack_name: str, restart: int) -> int:
    """A 63-bit key; with an example's index it is that example's stateless seed.

    The attack enters by name, so that it starts alike whatever other attacks run beside it.
    """
    entropy = (seed, zlib.crc32(attack_name.encode()), restart)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
