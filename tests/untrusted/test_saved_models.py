"""SavedModels that must not be loaded, made as an attacker would make them."""

import os
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.client import pywrap_tf_session

from fsgan_tf.untrusted import saved_models
from fsgan_tf.untrusted.saved_models import check_saved_model
from tests.untrusted.refusal import refused


def save(path: Path, function) -> Path:
    """A SavedModel of one variable whose signature calls `function` on a string."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "text")])
    def serving_default(text):
        return {"answer": tf.strings.join([module.variable, function(text)])}

    module = tf.Module()
    module.variable = tf.Variable("answer: ")
    tf.saved_model.save(module, str(path), signatures=serving_default)
    return path


@pytest.fixture(scope="module")
def harmless(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("untrusted") / "harmless", tf.strings.upper)


@pytest.fixture
def saved_model(harmless, tmp_path) -> Path:
    return Path(shutil.copytree(harmless, tmp_path / "saved_model"))


def edit(path: Path, change) -> None:
    file = path / "saved_model.pb"
    proto = SavedModel.FromString(file.read_bytes())
    change(proto.meta_graphs[0])
    file.write_bytes(proto.SerializeToString())


def test_a_saved_model_that_only_computes_passes(harmless):
    check_saved_model(harmless)


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ("ReadFile", tf.io.read_file),
        ("MatchingFiles", tf.io.matching_files),
        ("EagerPyFunc", lambda text: tf.py_function(lambda value: value, [text], tf.string)),
        (
            "TextLineDataset",
            lambda text: tf.data.TextLineDataset(text).get_single_element(),
        ),
        (
            "ReadFile",  # inside the functions of a condition
            lambda text: tf.cond(text == "", lambda: text, lambda: tf.io.read_file(text)),
        ),
    ],
)
def test_operations_that_reach_out_are_refused(tmp_path, operation, function):
    assert f"holds {operation}," in refused(check_saved_model, save(tmp_path / "model", function))


def test_every_operation_that_names_a_file_is_refused():
    content = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    operations = op_def_pb2.OpList.FromString(content).op
    naming = {
        operation.name
        for operation in operations
        if any("file" in part.name for part in (*operation.input_arg, *operation.attr))
    }
    assert "ReadFile" in naming
    passing = {name for name in naming if not saved_models._REFUSED_OPERATIONS.fullmatch(name)}
    # `is_files` only says how its elements are shared out among workers; it opens none.
    assert passing == {"TensorSliceDataset"}


def test_every_operation_that_saves_is_refused_outside_of_the_saver(saved_model):
    def call_the_saver(meta_graph):
        (saves,) = [
            function.signature.name
            for function in meta_graph.graph_def.library.function
            if "traced_save" in function.signature.name
        ]
        meta_graph.object_graph_def.concrete_functions[saves].SetInParent()

    edit(saved_model, call_the_saver)
    assert "MergeV2Checkpoints, SaveV2" in refused(check_saved_model, saved_model)


def test_links_and_assets_out_of_the_folder_are_refused(saved_model, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (saved_model / "assets" / "link").symlink_to(tmp_path / "secret")
    assert "links to a place outside" in refused(check_saved_model, saved_model)
    (saved_model / "assets" / "link").unlink()
    check_saved_model(saved_model)
    for name in ("/etc/hosts", "../../secret", "..\\secret"):
        edit(
            saved_model, lambda meta_graph, name=name: meta_graph.asset_file_def.add(filename=name)
        )
        assert "asset" in refused(check_saved_model, saved_model)


def test_a_pipe_is_refused_before_it_blocks(saved_model):
    os.mkfifo(saved_model / "variables" / "pipe")
    assert "neither a file nor a folder" in refused(check_saved_model, saved_model)


@pytest.mark.parametrize("content", [b"", b"\xff" * 50, b"no protocol buffer", None])
def test_what_is_no_saved_model_of_tensorflow_2_is_refused(saved_model, content):
    file = saved_model / "saved_model.pb"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    refused(check_saved_model, saved_model)
