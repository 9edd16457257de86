"""A classifier as a LiteRT file."""

import types

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.errors import RunError, UserError
from fsgan_tf.models import export_folder, litert, saving
from tests.cli.test_export import CLASS_NAMES, IMAGE_SHAPE, make_classifier, run_command
from tests.images import random_pixels, unit


def answers(folder, images: np.ndarray) -> dict[str, np.ndarray]:
    content = (folder / export_folder.LITERT_MODEL_FILE).read_bytes()
    return litert.interpreter(content).get_signature_runner("serving_default")(image=images)


@pytest.mark.parametrize(("kind", "tolerance"), [("litert", 1e-5), ("litert_float16", 1e-2)])
def test_the_file_answers_as_the_model_does(tmp_path, monkeypatch, capfd, kind, tolerance):
    model = make_classifier()
    assert run_command(monkeypatch, model, f"--run_dir={tmp_path}", f"--format={kind}") == 0
    assert f"{tmp_path}/litert/classifier.tflite" in capfd.readouterr().out
    for count in (1, 5):
        images = unit(random_pixels(count, *IMAGE_SHAPE))
        expected = np.asarray(model(images, training=False))
        answer = answers(tmp_path / "litert", images)
        np.testing.assert_allclose(answer["logits"], expected, atol=tolerance)
        np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(answer["label"], answer["logits"].argmax(axis=1))
    assert (tmp_path / "litert" / "class_names.txt").read_text("utf-8") == "cat\ndög\nship\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["litert"]


def test_a_wrong_conversion_is_refused_and_the_old_one_kept(tmp_path, monkeypatch):
    other = make_classifier()
    other.layers[-1].bias.assign([0.0, 0.0, 0.1])
    for name, model in (("model", make_classifier()), ("other", other)):
        saving.save_classifier(model, CLASS_NAMES, tmp_path / name)
    litert.convert(tmp_path / "model", CLASS_NAMES, tmp_path / "litert")
    before = (tmp_path / "litert" / export_folder.LITERT_MODEL_FILE).read_bytes()
    monkeypatch.setattr(litert, "_convert", lambda saved_model, float16: before)
    with pytest.raises(RunError, match="does not answer as the exported one does"):
        litert.convert(tmp_path / "other", CLASS_NAMES, tmp_path / "litert")
    assert (tmp_path / "litert" / export_folder.LITERT_MODEL_FILE).read_bytes() == before
    with pytest.raises(UserError, match="something else"):
        litert.convert(tmp_path / "model", CLASS_NAMES, tmp_path / "model")


def test_a_classifier_that_cannot_be_converted_is_one_line(tmp_path, monkeypatch):
    def fail():
        raise tf.errors.UnimplementedError(None, None, "no such operation")

    converter = types.SimpleNamespace(convert=fail)
    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_saved_model", lambda *_, **__: converter)
    with pytest.raises(RunError, match="LiteRT cannot convert this classifier: no such operation"):
        litert.convert(tmp_path / "model", CLASS_NAMES, tmp_path / "litert")
    assert not (tmp_path / "litert").exists()
