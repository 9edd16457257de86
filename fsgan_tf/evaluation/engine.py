"""Runs attacks on the examples that still stand, and counts what is verified."""

import dataclasses
import queue
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.attack import Attack
from fsgan_tf.attacks.attacked_classifier import AttackedClassifier, LogitsFn, is_misclassified
from fsgan_tf.attacks.batches import padded
from fsgan_tf.attacks.transfer import Source
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation import arguments, checks
from fsgan_tf.evaluation.outcome import FirstFound, Outcome, Task
from fsgan_tf.evaluation.progress import Progress
from fsgan_tf.evaluation.result import AttackResult, Result
from fsgan_tf.evaluation.state import EvaluationState
from fsgan_tf.threat_model import ThreatModel


def evaluate(
    logits_fn: LogitsFn | keras.Model | Sequence[AttackedClassifier],
    images: np.ndarray,
    labels: np.ndarray,
    threat_model: ThreatModel,
    attacks: Sequence[Attack],
    *,
    batch_size: int = 128,
    seed: int = 0,
    standalone: bool = False,
    sources: Sequence[Source] = (),
    state: EvaluationState | None = None,
    progress: bool = False,
) -> Result:
    """Measures a classifier's robust accuracy and checks whether the figure can be believed.

    Args:
      logits_fn: float32 `[b, h, w, c]` images in [0, 1] to `[b, k]` logits, for any b,
        differentiable and in inference mode; or a Keras model; or copies of one classifier, each on
        a device of its own, which share the batches.
      images: `[n, h, w, c]`, uint8, or floating-point numbers in [0, 1]; an array, a tensor or
        nested lists.
      labels: integers `[n]`, likewise.
      threat_model: what a perturbation may be.
      attacks: from `catalogue.suite` or `catalogue.by_names`.
      batch_size: images attacked together.
      seed: of the random starts.
      standalone: run every attack on every cleanly classified example, for accuracies to compare
        between papers; otherwise an attack sees what withstood those before it.
      sources: other classifiers, for the checks to compare with.
      state: finished batches of this very evaluation, which are not run again; new ones join them.
      progress: show a progress bar, or a line an attack where the output is no terminal.

    Returns:
      The result, checks included.

    Raises:
      UserError: the images or labels are not as above.
    """
    images, labels = arguments.as_examples(images, labels)
    logits_fn = arguments.as_classifier(logits_fn, images[:1])
    evaluator = Evaluator(logits_fn, threat_model, min(batch_size, max(len(images), 1)))
    result = evaluator.evaluate(
        images,
        labels,
        attacks,
        seed=seed,
        standalone=standalone,
        state=state,
        progress=progress,
    )
    checker = Evaluator(
        evaluator.copies, threat_model, min(checks.SAMPLE_SIZE, evaluator.batch_size)
    )
    diagnosis = checks.diagnose(
        checker, images, labels, attacks, result, sources, progress=progress
    )
    return dataclasses.replace(result, diagnosis=diagnosis)


_Run = Callable[[Task, AttackedClassifier], Outcome]


class Evaluator:
    """A classifier, wrapped and compiled once, to evaluate as often as its weights change."""

    def __init__(
        self,
        logits_fn: LogitsFn | keras.Model | Sequence[AttackedClassifier],
        threat_model: ThreatModel,
        batch_size: int,
    ):
        """See `evaluate` for the arguments. No batch is larger than `batch_size`."""
        copies = logits_fn if isinstance(logits_fn, Sequence) else [AttackedClassifier(logits_fn)]
        self.copies = tuple(copies)
        self.classifier = self.copies[0]
        self.threat_model = threat_model
        self.batch_size = batch_size

    def evaluate(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        attacks: Sequence[Attack],
        *,
        seed: int = 0,
        standalone: bool = False,
        state: EvaluationState | None = None,
        progress: bool = False,
    ) -> Result:
        """Attacks the examples; see the function `evaluate`, which adds the checks.

        What happens to an example depends on the seed, the attack's name and the example's index,
        never on the batch size, on which other examples still stand, or on the number of devices.
        """
        images, labels = arguments.as_examples(images, labels)

        def run(task: Task, classifier: AttackedClassifier) -> Outcome:
            outcome = state.read(task, images.shape[1:]) if state else None
            if outcome is None:
                outcome = self._run(task, classifier, images, labels, seed)
                if state:
                    state.write(task, outcome)
            return outcome

        correct = self.correct(images, labels)
        robust, robust_8bit = correct.copy(), correct.copy()
        found = FirstFound()
        results: list[AttackResult] = []
        for attack in sorted(attacks, key=lambda attack: attack.cost):
            candidates = correct if standalone else robust
            fooled, fooled_8bit = np.zeros_like(correct), np.zeros_like(correct)
            refused, seconds = 0, 0.0
            with Progress(attack, shown=progress) as bar:
                for outcome in self._outcomes(run, attack, candidates, bar):
                    fooled[outcome.indices] |= outcome.fooled
                    fooled_8bit[outcome.indices] |= outcome.fooled_8bit
                    refused += int(np.sum(outcome.claimed & ~outcome.fooled))
                    seconds += outcome.seconds / len(self.copies)
                    found.add(attack.name, outcome)
            robust = robust & ~fooled
            robust_8bit = robust_8bit & ~fooled_8bit
            results.append(
                AttackResult(
                    name=attack.name,
                    parameters=attack.parameters,
                    accuracy=float(np.mean(candidates & ~fooled)),
                    accuracy_8bit=float(
                        np.mean(correct & ~fooled_8bit if standalone else robust_8bit)
                    ),
                    standalone=standalone or not results,
                    seconds=seconds,
                    fooled=fooled,
                    fooled_8bit=fooled_8bit,
                    refused=refused,
                )
            )
        return Result(
            self.threat_model,
            seed,
            correct,
            tuple(results),
            found.collected(images, labels),
            labels=labels,
        )

    def correct(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Which examples are classified correctly without attack, bool `[n]`."""
        correct, unanswered = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
        for batch in self.batches(np.arange(len(labels))):
            pixels, targets = self.take(images, labels, batch)
            logits = self.classifier.logits(pixels)
            self._require_known_labels(logits, labels)
            correct[batch] = ~is_misclassified(logits, targets).numpy()
            unanswered[batch] = np.isnan(logits).any(axis=1)
        arguments.require_answers(int(unanswered.sum()), len(labels))
        return correct

    def batches(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Splits indices `[n]` into full batches and a rest, `padded` by repeating its own."""
        for start in range(0, len(indices), self.batch_size):
            yield padded(indices[start : start + self.batch_size], self.batch_size)

    def take(
        self, images: np.ndarray, labels: np.ndarray, batch: np.ndarray
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The examples at indices `batch`: float32 images in [0, 1] and int32 labels."""
        pixels = images[batch]
        if pixels.dtype == np.uint8:
            pixels = pixels.astype(np.float32) / np.float32(255)
        return tf.constant(pixels), tf.constant(labels[batch], tf.int32)

    def _outcomes(
        self, run: _Run, attack: Attack, candidates: np.ndarray, bar: Progress
    ) -> Iterator[Outcome]:
        """Runs all restarts on the candidates, each on what those before it have not fooled."""
        standing = candidates.copy()
        for restart in range(attack.restarts):
            bar.begin(restart, int(standing.sum()))
            batches = enumerate(self.batches(np.flatnonzero(standing)))
            tasks = [Task(attack, restart, *numbered) for numbered in batches]
            for outcome in self._spread(run, tasks):
                standing[outcome.indices[outcome.fooled]] = False
                bar.advance(len(outcome.indices), int(standing.sum()))
                yield outcome

    def _spread(self, run: _Run, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Hands the tasks to the classifier's copies as these get free; yields in order."""
        if len(self.copies) == 1:
            yield from (run(task, self.classifier) for task in tasks)
            return
        free: queue.SimpleQueue[AttackedClassifier] = queue.SimpleQueue()
        for copy in self.copies:
            free.put(copy)

        def run_where_free(task: Task) -> Outcome:
            copy = free.get()
            try:
                return run(task, copy)
            finally:
                free.put(copy)

        pool = ThreadPoolExecutor(len(self.copies))
        try:
            yield from pool.map(run_where_free, tasks)
        finally:
            pool.shutdown(cancel_futures=True)

    def _run(
        self,
        task: Task,
        classifier: AttackedClassifier,
        images: np.ndarray,
        labels: np.ndarray,
        seed: int,
    ) -> Outcome:
        """Attacks one batch on the classifier's device and verifies what is found."""
        attack, batch = task.attack, task.batch
        start = time.monotonic()
        key = _random_key(seed, attack.name, task.restart)
        with classifier.on_its_device():
            pixels, targets = self.take(images, labels, batch)
            seeds = tf.stack([tf.fill([len(batch)], key), tf.constant(batch, tf.int64)], axis=1)
            attempt = attack.run(
                classifier, self.threat_model, pixels, targets, seeds, task.restart
            )
            fooled, predictions = self._verify(classifier, attempt.images, pixels, targets)
            rounded = self.threat_model.round_to_8_bits(attempt.images, pixels)
            fooled_8bit = fooled & self._verify(classifier, rounded, pixels, targets)[0]
        # What pads the batch repeats examples.
        count = len(task.examples)
        verified = np.flatnonzero(fooled[:count])
        return Outcome(
            indices=task.examples,
            claimed=attempt.success.numpy()[:count],
            fooled=fooled[:count],
            fooled_8bit=fooled_8bit[:count],
            images=attempt.images.numpy()[verified],
            predictions=predictions[verified],
            seconds=time.monotonic() - start,
        )

    def _verify(
        self,
        classifier: AttackedClassifier,
        found: tf.Tensor,
        images: tf.Tensor,
        labels: tf.Tensor,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which images are feasible and misclassified by a fresh call, and as what; `[b]` each."""
        logits = classifier.logits(found)
        verified = self.threat_model.is_feasible(found, images) & is_misclassified(logits, labels)
        return verified.numpy(), tf.argmax(logits, axis=1, output_type=tf.int32).numpy()

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
