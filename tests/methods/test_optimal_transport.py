import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from fsgan_tf.methods.parts.optimal_transport import (
    cosine_cost,
    scatter_gradient,
    sinkhorn_plan,
    transport_cost,
)

SOLVERS = ["reference", "converged"]
REGULARIZATION = 0.01


def _batches(kind, n, k, seed=0):
    generator = np.random.default_rng(seed)
    clean = generator.normal(size=(n, k))
    adversarial = {
        "random": generator.normal(size=(n, k)),
        "identical": clean,
        "shifted": clean + 3 * generator.normal(size=(1, k)) + 1,
        "perturbed": clean + generator.normal(size=(n, k)),
    }[kind]
    return clean.astype(np.float32), adversarial.astype(np.float32)


def _cost(clean, adversarial):
    return np.maximum(cdist(np.float64(clean), np.float64(adversarial), "cosine"), 0)


def _port(cost, regularization=REGULARIZATION, limit=100):
    """Feature-Scatter's solver, in float64.

    Returns the plan after each of `limit` iterations, and the index at which the rule stops.
    """
    rows, columns = cost.shape
    u, v = np.zeros(rows), np.zeros(columns)

    def kernel():
        return np.exp((u[:, None] + v - cost) / regularization)

    plans, stop = [], None
    for iteration in range(limit):
        previous = u
        u = u + regularization * (-np.log(rows) - np.log(kernel().sum(axis=1) + 1e-6))
        v = v + regularization * (-np.log(columns) - np.log(kernel().sum(axis=0) + 1e-6))
        plans.append(kernel())
        if stop is None and np.abs(u - previous).sum() < 0.1:
            stop = iteration
    return plans, limit - 1 if stop is None else stop


def _distances(plan, others):
    """Largest difference to each other plan, relative to that one's largest entry."""
    return np.array([np.abs(plan - other).max() / other.max() for other in others])


@tf.function(reduce_retracing=True)
def _value_and_gradients(clean, adversarial, solver):
    with tf.GradientTape() as tape:
        tape.watch([clean, adversarial])
        distance = transport_cost(clean, adversarial, solver=solver)
    return distance, *tape.gradient(distance, [clean, adversarial])


def _converged(cost, regularization=REGULARIZATION):
    solve = tf.function(lambda cost: sinkhorn_plan(cost, regularization, "converged"))
    return solve(tf.constant(cost, tf.float32)).numpy()


# The cost.


def test_cosine_cost_is_scipys():
    clean, adversarial = _batches("random", 7, 5)
    cost = cosine_cost(clean, adversarial[:4])
    assert cost.dtype == tf.float32
    np.testing.assert_allclose(cost, _cost(clean, adversarial[:4]), atol=1e-6)


def test_cosine_cost_is_never_negative():
    """Rounding alone takes 1 - cos of parallel vectors below 0."""
    clean, _ = _batches("random", 60, 10)
    cost = cosine_cost(clean, 7 * clean).numpy()
    assert cost.min() == 0
    np.testing.assert_allclose(np.diag(cost), 0, atol=1e-6)


def test_zero_logits_are_orthogonal_to_everything():
    clean, _ = _batches("random", 3, 4)
    np.testing.assert_array_equal(cosine_cost(clean, tf.zeros([2, 4])), np.ones((3, 2)))


@pytest.mark.parametrize(("norm", "cosine_scale"), [(1e-5, 1.0), (1e-7, 0.1)])
def test_norms_below_1e_6_shrink_the_cosine(norm, cosine_scale):
    """As PyTorch's CosineSimilarity(eps=1e-6) clamps norms, so that gradients stay bounded."""
    clean, adversarial = _batches("random", 4, 5)
    tiny = norm * clean / np.linalg.norm(clean, axis=1, keepdims=True)
    expected = np.maximum(1 - cosine_scale * (1 - cdist(clean, adversarial, "cosine")), 0)
    np.testing.assert_allclose(cosine_cost(tiny, adversarial), expected, atol=1e-6)


# The reference solver.


@pytest.mark.parametrize("k", [10, 100])
@pytest.mark.parametrize("n", [60, 128])
@pytest.mark.parametrize("kind", ["random", "identical", "shifted"])
def test_reference_is_the_port(kind, n, k):
    clean, adversarial = _batches(kind, n, k)
    cost = _cost(clean, adversarial)
    plans, stop = _port(cost)

    plan = sinkhorn_plan(cosine_cost(clean, adversarial), REGULARIZATION, "reference").numpy()
    distances = _distances(plan, plans)
    assert distances[stop] < 1e-4
    if kind != "identical":  # whose plan no longer changes
        assert 2 <= stop < 50
        assert distances.argmin() == stop
        assert min(distances[stop - 1], distances[stop + 1]) > 100 * distances[stop]

    expected = (plans[stop] * cost).sum()
    distance = transport_cost(clean, adversarial)
    assert distance.shape == ()
    np.testing.assert_allclose(distance, expected, rtol=1e-5, atol=1e-7)


def test_reference_gives_up_after_100_iterations():
    positions = np.arange(128) / 128
    cost = 2 * np.abs(positions[:, None] - positions**2)
    plans, stop = _port(cost, limit=102)
    assert stop == 101
    plan = sinkhorn_plan(tf.constant(cost, tf.float32)).numpy()
    distances = _distances(plan, plans)
    assert distances.argmin() == 99
    assert min(distances[98], distances[100]) > 10 * distances[99]


def test_reference_meets_the_column_marginals_alone():
    clean, adversarial = _batches("random", 60, 10)
    plan = sinkhorn_plan(cosine_cost(clean, adversarial)).numpy()
    np.testing.assert_allclose(plan.sum(), 1, atol=1e-3)
    np.testing.assert_allclose(60 * plan.sum(axis=0), 1, atol=1e-3)
    assert np.abs(60 * plan.sum(axis=1) - 1).max() > 0.2


def test_reference_gradient_flows_through_the_plan():
    """Against numeric differentiation of the port, in float64."""
    clean, adversarial = _batches("perturbed", 8, 4, seed=1)
    direction = np.random.default_rng(2).normal(size=adversarial.shape)
    step = 1e-5 * direction

    def distance(adversarial):
        cost = _cost(clean, adversarial)
        plans, stop = _port(cost)
        return (plans[stop] * cost).sum(), stop

    above, stop_above = distance(adversarial + step)
    below, stop_below = distance(adversarial - step)
    assert stop_above == stop_below
    expected = (above - below) / 2e-5

    plan = sinkhorn_plan(cosine_cost(clean, adversarial)).numpy()
    difference = _cost(clean, adversarial + step) - _cost(clean, adversarial - step)
    of_constant_plan = (plan * difference).sum() / 2e-5
    assert abs(expected - of_constant_plan) > 0.1 * abs(expected)

    _, _, gradient = _value_and_gradients(clean, adversarial, "reference")
    np.testing.assert_allclose((gradient * direction).numpy().sum(), expected, rtol=1e-4)


@pytest.mark.parametrize("regularization", [0.05, 0.2, 1.0])
def test_reference_gradient_counts_every_iteration(regularization):
    """Where a few iterations are all, the first weigh as much as the last."""
    clean, adversarial = _batches("perturbed", 8, 4, seed=1)
    direction = np.random.default_rng(2).normal(size=adversarial.shape)

    def distance(adversarial):
        cost = _cost(clean, adversarial)
        plans, stop = _port(cost, regularization)
        return (plans[stop] * cost).sum(), stop

    (above, stop), (below, _) = (distance(adversarial + h * direction) for h in (1e-5, -1e-5))
    assert stop < 10
    watched = tf.Variable(adversarial)
    with tf.GradientTape() as tape:
        cost = transport_cost(clean, watched, regularization)
    slope = tf.reduce_sum(tape.gradient(cost, watched) * direction)
    np.testing.assert_allclose(slope, (above - below) / 2e-5, rtol=1e-3)


# The converged solver.


@pytest.mark.parametrize("shape", [(60, 60), (24, 36)])
@pytest.mark.parametrize("kind", ["random", "identical", "shifted"])
def test_converged_meets_both_marginals(kind, shape):
    rows, columns = shape
    clean, adversarial = _batches(kind, max(shape), 100)
    plan = _converged(_cost(clean[:rows], adversarial[:columns]))
    assert plan.min() >= 0
    assert np.abs(plan.sum(axis=1) - 1 / rows).sum() < 2e-4
    assert np.abs(plan.sum(axis=0) - 1 / columns).sum() < 2e-5


@pytest.mark.parametrize("regularization", [0.01, 0.001])
def test_converged_costs_little_more_than_the_best_assignment(regularization):
    cost = _cost(*_batches("perturbed", 16, 10, seed=1))
    best = cost[linear_sum_assignment(cost)].mean()
    distance = (_converged(cost, regularization) * cost).sum()
    # The entropy of a plan exceeds that of an assignment by log n at most.
    assert best - 1e-4 < distance < best + regularization * np.log(16)
    assert distance > 0.1


def test_converged_gradient_takes_the_plan_as_constant():
    clean, adversarial = _batches("perturbed", 8, 4, seed=1)
    direction = np.random.default_rng(2).normal(size=adversarial.shape)
    step = 1e-5 * direction
    plan = _converged(_cost(clean, adversarial))
    difference = _cost(clean, adversarial + step) - _cost(clean, adversarial - step)
    _, _, gradient = _value_and_gradients(clean, adversarial, "converged")
    np.testing.assert_allclose(
        (gradient * direction).numpy().sum(), (plan * difference).sum() / 2e-5, rtol=1e-3
    )


# Both.


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("case", "expected"),
    [("identical", 0), ("all_equal", 0), ("all_zero", 1), ("one_side_zero", 1), ("opposite", 2)],
)
def test_degenerate_logits_have_finite_gradients(case, expected, solver):
    clean, _ = _batches("random", 60, 10)
    ones = np.ones_like(clean)
    pair = {
        "identical": (clean, clean),
        "all_equal": (ones, 3 * ones),
        "all_zero": (0 * ones, 0 * ones),
        "one_side_zero": (0 * ones, clean),
        "opposite": (ones, -ones),
    }[case]
    distance, *gradients = _value_and_gradients(*pair, solver)
    np.testing.assert_allclose(distance, expected, atol=1e-3)
    assert np.isfinite(gradients).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_large_logits_are_as_good_as_small_ones(solver):
    clean, adversarial = _batches("random", 60, 10)
    small = _value_and_gradients(clean, adversarial, solver)
    large = _value_and_gradients(1e4 * clean, 1e4 * adversarial, solver)
    np.testing.assert_allclose(large[0], small[0], rtol=1e-3)
    # The cost does not see scale, so its gradient falls as the logits grow.
    largest = np.abs(small[2]).max()
    np.testing.assert_allclose(1e4 * large[2], small[2], atol=1e-2 * largest)
    assert np.isfinite(large[1]).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_graph_says_what_eager_execution_says(solver):
    clean, adversarial = _batches("shifted", 16, 100)
    eager = _value_and_gradients.python_function(
        tf.constant(clean), tf.constant(adversarial), solver
    )
    compiled = tf.function(_value_and_gradients.python_function, jit_compile=True)
    for run in (_value_and_gradients, compiled):
        for value, expected in zip(run(clean, adversarial, solver), eager, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_batch_of_another_size_has_its_own_weights_in_the_same_graph(solver):
    """Uniform, 1/n of that batch: an epoch's last one may be smaller."""
    spec = tf.TensorSpec([None, 10], tf.float32)
    function = tf.function(
        lambda *logits: _value_and_gradients.python_function(*logits, solver),
        input_signature=[spec, spec],
    )
    for n in (16, 3, 1):
        clean, adversarial = map(tf.constant, _batches("shifted", n, 10))
        # Traced for this size alone.
        of_size = tf.function(_value_and_gradients.python_function)(clean, adversarial, solver)
        for value, expected in zip(function(clean, adversarial), of_size, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-6)
        plan_of = tf.function(lambda cost: sinkhorn_plan(cost, REGULARIZATION, solver))
        plan = plan_of(cosine_cost(clean, adversarial)).numpy()
        np.testing.assert_allclose(plan.sum(axis=0), np.full(n, 1 / n), rtol=1e-3)
    assert function.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("solver", SOLVERS)
def test_bfloat16_logits_are_computed_in_float32(solver):
    half = [tf.cast(logits, tf.bfloat16) for logits in _batches("shifted", 8, 10)]
    distance, *_ = _value_and_gradients(*half, solver)
    assert distance.dtype == tf.float32
    expected, *_ = _value_and_gradients(*[tf.cast(x, tf.float32) for x in half], solver)
    np.testing.assert_array_equal(distance, expected)


def test_default_solver_is_the_reference_at_001():
    clean, adversarial = _batches("random", 60, 10)
    by_default = transport_cost(clean, adversarial)
    np.testing.assert_array_equal(
        by_default, transport_cost(clean, adversarial, REGULARIZATION, "reference")
    )
    assert by_default != transport_cost(clean, adversarial, 0.02, "reference")


def test_unknown_solver_is_refused():
    with pytest.raises(ValueError, match="solver is 'exact'; it must be 'reference' or"):
        sinkhorn_plan(tf.ones([3, 3]), solver="exact")


@pytest.mark.parametrize("solver", SOLVERS)
def test_scatter_gradient_is_the_costs_by_the_images(solver):
    clean, _ = _batches("random", 6, 4)
    images = np.random.default_rng(3).uniform(size=(6, 2, 2, 1)).astype(np.float32)
    weights = tf.constant(np.random.default_rng(4).normal(size=(4, 4)), tf.float32)

    def classifier(images):
        return tf.reshape(images, [6, 4]) @ weights

    gradients, cost = scatter_gradient(
        classifier, tf.constant(clean), tf.constant(images), 0.02, solver
    )
    with tf.GradientTape() as tape:
        watched = tf.Variable(images)
        expected = transport_cost(clean, classifier(watched), 0.02, solver)
    np.testing.assert_allclose(cost, expected)
    np.testing.assert_allclose(gradients, tape.gradient(expected, watched), rtol=1e-5, atol=1e-7)
