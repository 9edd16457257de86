"""The stress test of an export, in short: its figures must be true, whatever they are."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.data.split import Split
from fsgan_tf.errors import RunError
from fsgan_tf.models import saving
from tests.cli.test_export import CLASS_NAMES, IMAGE_SHAPE, make_classifier
from tests.images import random_pixels
from tools import serving


@pytest.fixture(scope="module")
def images() -> Split:
    return Split(random_pixels(50, *IMAGE_SHAPE), np.zeros(50, np.int32))


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("serving") / "saved_model"
    saving.save_classifier(make_classifier(), CLASS_NAMES, path)
    return path


def test_eight_threads_get_the_models_answers_at_any_batch_size(images, saved_model):
    loaded = tf.saved_model.load(str(saved_model))
    requests = serving.draw_requests(100, len(images), seed=0)
    sizes = [len(request.rows) for request in requests]
    assert (min(sizes), max(sizes)) == (1, 512)
    assert sum(request.as_files for request in requests) == 50
    answers = serving.serve(loaded.signatures, images, requests, threads=8)
    assert [len(logits) for logits in answers] == sizes
    found = serving.compare(make_classifier(), images, requests, answers)
    assert found.num_other_labels == 0
    assert found.largest_difference < 1e-5


def test_other_answers_are_counted(images):
    requests = serving.draw_requests(4, len(images), seed=0)[2:]
    model = make_classifier()
    answers = [np.array(model(serving._pixels(images, request))) for request in requests]
    answers[0][0] = [9.0, 8.0, 7.0] if answers[0][0].argmax() else [7.0, 8.0, 9.0]
    found = serving.compare(model, images, requests, answers)
    assert (found.num_identical, found.num_other_labels) == (1, 1)
    assert found.largest_difference > 1


def test_a_label_that_is_not_that_of_the_logits_is_refused(images):
    def wrong(image):
        return {"logits": tf.one_hot(tf.zeros(len(image), tf.int32), 3), "label": tf.ones(1)}

    requests = serving.draw_requests(2, len(images), seed=0)[:1]
    with pytest.raises(RunError, match="a label is not that of its logits"):
        serving.serve({"serving_default": wrong}, images, requests, threads=1)


@pytest.mark.slow
def test_litert_stands_beside_the_saved_model(images, saved_model):
    rows = serving._litert_rows(saved_model, CLASS_NAMES, images)
    assert [row[0] for row in rows] == ["SavedModel", "LiteRT", "LiteRT, float16"]
    assert len({row[2] for row in rows[:2]}) == 1
    assert rows[1][4] == "0 of 50"
