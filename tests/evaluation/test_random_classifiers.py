"""Classifiers whose answers differ from call to call."""

import itertools

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attempt
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.losses import true_class_lead
from fsgan_tf.attacks.parts.random_draws import with_own_seeds
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.evaluation import checks
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.outcome import MostFooling, Outcome
from fsgan_tf.evaluation.repeated_calls import CALLS
from fsgan_tf.evaluation.run_and_diagnose import evaluate
from fsgan_tf.results.randomness import Randomness, chance_of_majority, likely_counts, spread
from fsgan_tf.threat_model import ThreatModel


@pytest.fixture
def rippled(honest):
    """Gaussian noise turns the gradient of a fast ripple, whose height changes no answer."""

    def logits_fn(pixels, seed):
        noise = tf.random.stateless_normal([*tf.unstack(tf.shape(pixels)), 4], seed)
        ripple = tf.sin(2000 * (pixels[..., None] + noise))
        return honest(pixels) + 0.01 * tf.reduce_sum(ripple, axis=[1, 2, 3])

    return logits_fn


def _attacked(classifier, images, labels, names, eot, epsilon=0.1, **options):
    """What `evaluate` finds, without the checks."""
    evaluator = Evaluator(classifier, ThreatModel(epsilon), 24, eot=eot)
    return evaluator.attack(images, labels, by_names(names, epsilon), **options)


def test_the_mean_over_draws_is_attacked_where_one_draw_misleads(rippled, images, labels):
    classifier = with_own_seeds(rippled)
    plain = _attacked(classifier, images, labels, ["pgd20"], None)
    averaged = _attacked(classifier, images, labels, ["pgd20"], 50)
    assert plain.clean_accuracy > 0.9
    assert plain.accuracy("pgd20") > 0.6
    assert averaged.accuracy("pgd20") < 0.4


def test_lucky_draws_count_for_nothing(honest, images, labels):
    """Any image is misclassified at three of ten calls, and no change makes that more."""

    def moody(pixels, seed):
        count = tf.shape(pixels)[0]
        right = tf.one_hot(tf.constant(labels)[:count], 4)
        lucky = tf.random.stateless_uniform([count, 1], seed) < 0.3
        return 100 * tf.where(lucky, tf.roll(right, 1, axis=1), right)

    classifier = with_own_seeds(moody)
    found = _attacked(classifier, images, labels, ["pgd20"], 3)
    assert found.clean_accuracy == found.worst_case_accuracy == 1
    randomness = found.randomness
    assert randomness.calls == CALLS
    assert randomness.accuracy_of_one_call == pytest.approx(0.7, abs=0.05)
    assert randomness.clean_accuracy_of_one_call == pytest.approx(0.7, abs=0.05)
    assert randomness.worst_case_interval_95[1] == 1
    assert _attacked(classifier, images, labels, ["pgd20"], None).worst_case_accuracy < 0.8


def test_a_classifier_that_answers_alike_is_measured_as_without(network, images, network_labels):
    names = ["pgd3", "apgd_ce"]
    with_one_draw = _attacked(network, images, network_labels, names, 1, epsilon=0.01)
    without = _attacked(network, images, network_labels, names, None, epsilon=0.01)
    for one, other in zip(with_one_draw.attacks, without.attacks, strict=True):
        np.testing.assert_array_equal(one.fooled, other.fooled)
        assert one.accuracy_8bit == other.accuracy_8bit
    np.testing.assert_array_equal(with_one_draw.examples.images, without.examples.images)
    np.testing.assert_array_equal(with_one_draw.examples.predictions, without.examples.predictions)
    assert without.randomness is None
    assert (
        with_one_draw.randomness.worst_case_interval_95 == (with_one_draw.worst_case_accuracy,) * 2
    )


class _Noise(keras.layers.Layer):
    """Active at inference too."""

    def __init__(self):
        super().__init__()
        self.draws = keras.random.SeedGenerator(0)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), stddev=0.1, seed=self.draws)


@pytest.mark.parametrize("kind", ["own seed", "Keras", "TensorFlow"])
def test_a_seed_repeats_what_is_drawn(kind, honest, images, labels):
    def noisy(pixels, seed):
        return honest(pixels + 0.1 * tf.random.stateless_normal(tf.shape(pixels), seed))

    def classifier():
        if kind == "Keras":
            inputs = keras.Input((8, 8, 1))
            pooled = keras.layers.AveragePooling2D(4)(_Noise()(inputs))
            return keras.Model(inputs, 20 * keras.layers.Flatten()(pooled))
        if kind == "TensorFlow":
            return lambda x: honest(x + tf.random.normal(tf.shape(x), stddev=0.1))
        return with_own_seeds(noisy)

    def found(names, seed):
        result = _attacked(classifier(), images, labels, names, 2, seed=seed, standalone=True)
        return result.randomness, {attack.name: attack.fooled for attack in result.attacks}

    first, fooled = found(["pgd3"], 1)
    # What was drawn before does not change it.
    again, fooled_again = found(["pgd3"], 1)
    np.testing.assert_array_equal(first.clean_wrong, again.clean_wrong)
    np.testing.assert_array_equal(first.attacked_wrong, again.attacked_wrong)
    np.testing.assert_array_equal(fooled["pgd3"], fooled_again["pgd3"])
    assert fooled["pgd3"].any()
    other, _ = found(["pgd3"], 2)
    assert not np.array_equal(first.attacked_wrong, other.attacked_wrong)


def test_losses_and_gradients_are_means_and_all_draws_must_fool(images, labels):
    calls = tf.Variable(0.0)

    def louder(pixels):
        """The logits of the t-th call are t times the quadrants' brightness, class 0 apart."""
        factor = calls.assign_add(1)
        logits = factor * tf.reshape(tf.nn.avg_pool2d(pixels, 4, 4, "VALID"), [-1, 4])
        return logits + tf.where(factor > 2.5, 100.0, 0.0) * tf.one_hot(tf.zeros(24, tf.int32), 4)

    classifier = AttackedClassifier(louder).averaged(3)
    pixels, targets = tf.constant(images), tf.constant(labels)
    wrong, losses, gradient = classifier.loss_and_gradient(
        pixels, targets, lambda logits: -true_class_lead(targets, logits)
    )
    quadrants = images.reshape(24, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(24, 4)
    by_call = [t * quadrants + (100 * np.eye(4)[0] if t == 3 else 0) for t in (1, 2, 3)]
    leads = [
        logits[np.arange(24), labels]
        - np.where(np.eye(4, dtype=bool)[labels], -np.inf, logits).max(axis=1)
        for logits in by_call
    ]
    np.testing.assert_allclose(losses, -np.mean(leads, axis=0), rtol=1e-4)
    np.testing.assert_array_equal(wrong, np.all(np.array(leads) < 0, axis=0))
    assert calls.numpy() == 10  # Where three are wrong, as many judge as rule out luck.
    # Of the true class's quadrant: t / 16 at each of its pixels.
    row, column = divmod(int(labels[5]), 2)
    own = gradient[5, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
    np.testing.assert_allclose(own, np.full((4, 4, 1), -np.mean([1, 2, 3]) / 16), rtol=1e-5)
    calls.assign(0)
    judged, again = classifier.judge(
        pixels, targets, lambda logits: -true_class_lead(targets, logits)
    )
    np.testing.assert_array_equal(judged, wrong)
    np.testing.assert_allclose(again, losses, rtol=1e-5)
    calls.assign(0)
    np.testing.assert_allclose(classifier.logits(pixels), np.mean(by_call, axis=0), rtol=1e-5)


def test_one_draw_that_fools_ends_no_attack(images, labels):
    """With --eot=1 nine further calls must agree; here the first is wrong, and the others right."""
    calls = tf.Variable(0)

    def first_is_wrong(pixels):
        wrong = tf.cast(calls.assign_add(1) == 1, tf.int32)
        return tf.one_hot((tf.constant(labels)[: tf.shape(pixels)[0]] + wrong) % 4, 4)

    classifier = AttackedClassifier(first_is_wrong).averaged(1)
    pixels, targets = tf.constant(images), tf.constant(labels)
    wrong, losses = classifier.judge(
        pixels, targets, lambda logits: -true_class_lead(targets, logits)
    )
    assert not wrong.numpy().any()
    np.testing.assert_array_equal(losses, np.ones(24))
    assert calls.numpy() == 2


def _outcome(indices, fooled, wrong_calls, values):
    """Of images of one value."""
    flags = np.array(fooled)
    return Outcome(
        indices=np.array(indices),
        claimed=flags,
        fooled=flags,
        fooled_8bit=flags,
        images=np.array(values, np.float32).reshape(-1, 1, 1, 1),
        predictions=np.zeros(len(flags), np.int32),
        seconds=0.0,
        wrong_calls=np.array(wrong_calls),
    )


def test_the_image_that_fools_most_is_kept():
    most = MostFooling(4)
    most.add("a", _outcome([0, 2], [False, False], [30, 0], [0.1, 0.2]))
    most.add("b", _outcome([0, 1], [True, False], [27, 5], [0.3, 0.4]))
    most.add("c", _outcome([0, 2], [False, False], [50, 0], [0.5, 0.6]))
    assert most.indices.tolist() == [0, 1, 2]
    np.testing.assert_allclose(most.images(most.indices).ravel(), [0.3, 0.4, 0.2])
    assert most.found_by("b").tolist() == [True, True, False, False]
    fooled = np.array([False, True, True, False])
    clean, labels = np.zeros((4, 1, 1, 1), np.float32), np.arange(4)
    examples = most.collected(fooled, clean, labels, np.array([5, 6, 7, 8]))
    assert examples.indices.tolist() == [1, 2]
    assert examples.attacks == ("b", "a")
    assert examples.predictions.tolist() == [6, 7]
    np.testing.assert_allclose(examples.images.ravel(), [0.4, 0.2])


class _Unchanged:
    """Attacks by the images as they are."""

    access, cost, parameters = "none", 1, {}

    def __init__(self, name, restarts):
        self.name, self.restarts = name, restarts

    def run(self, classifier, threat_model, images, labels, seeds, restart):
        return Attempt(images, tf.zeros_like(labels, tf.bool))


@pytest.mark.parametrize("restarts", [1, 4])
@pytest.mark.parametrize("draw", ["own seed", "TensorFlow"])
def test_figure_and_interval_are_of_calls_that_chose_nothing(restarts, draw):
    """A pixel is the share of calls that are wrong, and no attack changes it."""

    def lucky(pixels, seed=None):
        shape = tf.shape(pixels)[:1]
        drawn = tf.random.stateless_uniform(shape, seed) if seed is not None else None
        drawn = tf.random.uniform(shape) if drawn is None else drawn
        wrong = drawn < pixels[:, 0, 0, 0]
        return tf.one_hot(tf.cast(wrong, tf.int32), 2)

    number = 600
    shares = np.linspace(0, 1, number, dtype=np.float32).reshape(-1, 1, 1, 1)
    classifier = with_own_seeds(lucky) if draw == "own seed" else lambda pixels: lucky(pixels)
    evaluator = Evaluator(classifier, ThreatModel(0.001), number, eot=1)
    attacks = [_Unchanged("a", restarts), _Unchanged("b", restarts)]
    result = evaluator.attack(shares, np.zeros(number, np.int32), attacks)
    # Of those that the clean calls found right, most are; the attacks make none of them wrong.
    low, high = result.randomness.worst_case_interval_95
    assert low <= result.worst_case_accuracy <= high
    attacked = result.randomness.attacked_wrong
    robust = result.clean_correct & (2 * attacked < CALLS)
    np.testing.assert_array_equal(result.robust, robust)
    # The draws that chose the images would be wrong more often than the images are.
    correct = result.clean_correct
    expected = shares.ravel()[correct].mean()
    spread = np.sqrt(np.mean(shares * (1 - shares)) / CALLS / correct.sum())
    assert abs(attacked[correct].mean() / CALLS - expected) < 4 * spread
    fooled = np.flatnonzero(~robust & correct)
    assert result.examples.indices.tolist() == fooled.tolist()
    assert set(result.examples.predictions.tolist()) == {1}
    for attack in result.attacks:
        assert not attack.fooled[robust].any()
        assert not (attack.fooled_8bit & ~attack.fooled).any()
        assert result.worst_case_accuracy <= attack.accuracy
        assert attack.accuracy_8bit >= attack.accuracy


def test_the_calls_that_decide_draw_on_from_batch_to_batch():
    """With the same draws for each batch the interval would take them for so many more."""

    def lucky(pixels):
        wrong = tf.random.uniform(tf.shape(pixels)[:1]) < 0.2
        return tf.one_hot(tf.cast(wrong, tf.int32), 2)

    evaluator = Evaluator(lucky, ThreatModel(0.001), 8, eot=1)
    images, labels = np.full((32, 1, 1, 1), 0.5, np.float32), np.zeros(32, np.int32)
    result = evaluator.attack(images, labels, [_Unchanged("a", 1)])
    assert result.clean_correct.all()
    for wrong in (result.randomness.clean_wrong, result.randomness.attacked_wrong):
        assert len(np.unique(wrong.reshape(4, 8), axis=0)) == 4


def test_a_count_of_calls_starts_over_from_its_first_value():
    """Also for the calls that judge last, which are reached after fewer calls in a resumed run."""
    count = tf.Variable(0)

    def counting(pixels):
        return tf.cast(count.assign_add(1), tf.float32) * tf.ones([tf.shape(pixels)[0], 2])

    images, once = tf.zeros([1, 1, 1, 1]), AttackedClassifier(counting).averaged(1)
    last = once.averaged(1)
    once.restart_draws((0,), images)
    once.given_logits(images)
    last.restart_draws((0,), images)
    assert count.numpy() == 0


@pytest.mark.parametrize("attempts", [1, 5])
def test_the_interval_covers_the_truth(attempts):
    """By simulation, of images whose shares of wrong calls at each attempt are spread evenly."""
    rng = np.random.default_rng(attempts)
    number, times, covered, inside = 1000, 100, 0, 0
    indices = np.arange(number)
    for _ in range(times):
        most = MostFooling(number)
        for attempt in range(attempts):
            shares = rng.uniform(size=number)
            first, second = rng.binomial(CALLS, [shares, shares])
            fooled = (2 * first > CALLS) & (2 * second > CALLS)
            most.add(str(attempt), _outcome(indices, fooled, first, shares))
        shares = most.images(indices).ravel()
        wrong = rng.binomial(CALLS, shares)
        low, high = Randomness(1, CALLS, wrong, wrong).worst_case_interval_95
        covered += low <= np.mean(shares < 0.5) <= high
        inside += low <= np.mean(2 * wrong < CALLS) <= high
    assert covered >= 0.9 * times
    assert inside == times


def test_a_figure_of_close_calls_lies_in_its_interval():
    wrong = np.full(1000, 23)
    low, high = Randomness(1, CALLS, wrong, wrong).worst_case_interval_95
    assert low < 0.9 < high == 1


def test_frequencies_are_taken_to_come_from_what_they_look_like():
    frequencies = np.random.default_rng(0).beta(2, 5, 20_000)
    times = np.random.default_rng(1).binomial(CALLS, frequencies)
    np.testing.assert_allclose(spread(times, CALLS), (2, 5), rtol=0.05)
    assert spread(np.full(9, CALLS), CALLS) == (1, 1)
    np.testing.assert_allclose(sum(spread(np.full(9, 20), CALLS)), CALLS)
    np.testing.assert_allclose(spread(np.array([0, CALLS]), CALLS), (0.1, 0.1))


def test_the_interval_of_a_count_is_that_of_independent_images():
    # The identity of the beta and the binomial distribution.
    times = np.arange(8)
    np.testing.assert_allclose(
        chance_of_majority(times, 7, (1, 1)), scipy.stats.binom.cdf(times, 8, 0.5)
    )
    chances = np.array([0.0, 1.0, 0.3, 0.6, 0.9, 0.5, 1.0])
    outcomes = {}
    for happens in itertools.product([0, 1], repeat=7):
        chance = np.prod(np.where(happens, chances, 1 - chances))
        outcomes[sum(happens)] = outcomes.get(sum(happens), 0) + chance
    cumulative = np.cumsum([outcomes[count] for count in range(8)])
    expected = tuple(int(np.argmax(cumulative >= level)) for level in (0.025, 0.975))
    assert likely_counts(chances) == expected
    assert likely_counts(np.ones(5)) == (5, 5)


def test_the_check_names_the_flag_and_passes_with_it(rippled, images, labels):
    def check(eot):
        evaluator = Evaluator(with_own_seeds(rippled), ThreatModel(0.05), 24, eot=eot)
        result = evaluator.attack(images, labels, [])
        evidence = checks.Evidence(evaluator, images, labels, [], result, [])
        return checks.outputs.same_output_twice(evidence)

    assert check(None).verdict == "fail"
    assert "--eot=20" in check(None).advice
    assert check(1).verdict == "warn"
    few = check(9)
    assert few.verdict == "warn"
    assert "--eot=20" in few.advice
    passed = check(10)
    assert passed.verdict == "pass"
    assert "averaged over 10 calls" in passed.detail


def test_an_evaluation_says_how_it_was_measured(honest, images, labels):
    def noisy(pixels, seed):
        return honest(pixels + 0.1 * tf.random.stateless_normal(tf.shape(pixels), seed))

    result = evaluate(noisy, images, labels, epsilon=0.05, attacks=["pgd3"], eot=4, checks="fast")
    assert "means over 4 calls" in str(result)
    assert not [check for check in result.checks if check.verdict == "fail"]
