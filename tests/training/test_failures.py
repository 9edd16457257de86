"""What ends a training is told in one line."""

import pytest
import tensorflow as tf

from fsgan_tf.errors import RunError, UserError
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.training import failures


def _call_in_a_graph(error: Exception) -> None:
    """Raises what TensorFlow makes of an error of Python code that its graph calls."""

    def fail(_):
        raise error

    @tf.function
    def graph():
        return tf.numpy_function(fail, [0], tf.int64)

    graph()


def test_what_user_error_python_code_in_a_graph_raised_is_said(tmp_path):
    with (
        pytest.raises(UserError, match=r"^a\.png is damaged; replace it$"),
        failures.told_in_one_line(RunDirectory(tmp_path)),
    ):
        _call_in_a_graph(UserError("a.png is damaged; replace it"))


def test_another_error_in_a_graph_says_how_to_resume(tmp_path):
    with (
        pytest.raises(RunError, match="training failed .*; the same command resumes from"),
        failures.told_in_one_line(RunDirectory(tmp_path)),
    ):
        _call_in_a_graph(ValueError("unknown"))
