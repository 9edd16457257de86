"""The line of an epoch says what there is to say."""

from fsgan_tf.training.callbacks.epoch_line import EpochLine, described


def test_all_figures_are_shown():
    figures = {
        "loss": 1.25,
        "clean_accuracy": 0.5,
        "one_step_accuracy": 0.25,
        "robust_accuracy": 0.125,
        "images_per_second": 99.6,
        "generator_ot": 7.0,
    }
    assert described(figures, 61.0) == (
        "loss 1.250  validation: clean 0.500 fgsm 0.250 pgd10 0.125  100 img/s  01:01 left"
    )


def test_figures_that_are_not_there_are_left_out():
    assert described({"loss": 1.25}, 0.0) == "loss 1.250  00:00 left"


def test_an_epoch_is_counted_from_one(capsys):
    line = EpochLine(epochs=3)
    line.on_epoch_begin(1)
    line.on_epoch_end(1, {"loss": 0.5})
    assert capsys.readouterr().out.startswith("epoch 2/3  loss 0.500  ")
