"""What an evaluation's flags leave open, a run's training says."""

import pytest

from fsgan_tf.cli import evaluation_flags, training_flags
from fsgan_tf.errors import UserError


def _asked(*argv):
    values = evaluation_flags.evaluation_flags()
    values(["evaluate", *argv])
    return evaluation_flags.configuration(values)


def test_what_is_not_given_is_as_in_the_training():
    trained = training_flags.parse(["--dataset=cifar10", "--data_dir=/there", "--epsilon=8/255"])
    found = _asked("--run_dir=a").resolved(trained)
    assert (found.data.dataset, found.source["data_dir"]) == ("cifar10", "/there")
    assert (found.evaluation.norm, found.evaluation.radii) == ("linf", (8 / 255,))
    flags = ["--dataset=digits", "--norm=l2", "--epsilons=0.5,1", "--image_size=8"]
    found = _asked("--run_dir=a", *flags).resolved(trained)
    assert (found.data.dataset, found.data.image_size, found.source) == ("digits", (8, 8), {})
    assert (found.evaluation.norm, found.evaluation.radii) == ("l2", (1.0, 0.5))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--epsilon=0.1"], "--keras_model does not say its dataset; give --dataset"),
        (["--dataset=digits"], "--keras_model does not say its epsilon; give --epsilon"),
        (["--dataset=digits", "--epsilons=0.1,1.5"], "--epsilons=1.5: must be at most 1 in linf"),
    ],
)
def test_what_nothing_says_is_asked_for(argv, words):
    with pytest.raises(UserError, match=words):
        _asked("--keras_model=a.keras", *argv).resolved(None)


def test_a_radius_of_another_norm_is_none():
    trained = training_flags.parse(["--epsilon=8/255"])
    with pytest.raises(UserError, match="--norm=l2 needs --epsilon in its own unit; the run's is"):
        _asked("--run_dir=a", "--norm=l2").resolved(trained)
