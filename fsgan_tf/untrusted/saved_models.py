"""What a SavedModel must pass before it is loaded.

A SavedModel is a program. Loading and calling it runs the operations of its graph, some of which
read and write files or run what no check can see.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fsgan_tf.errors import UserError
from fsgan_tf.untrusted.names import leads_out

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

# Operations that touch files, the terminal, the network or Python, end the process, or carry a
# program inside a string, where its operations cannot be seen. TensorFlow has about 1,900 in all.
_REFUSED_OPERATIONS = re.compile(
    "(Experimental)?("
    r"\w*PyFunc\w*|RemoteCall|Rpc\w+|\w*Send|\w*Recv|\w*DataService\w+|RegisterDataset\w*|Abort"
    r"|ReadFile|WriteFile|\w*MatchingFiles\w*|FileSystemSetConfiguration|InitializeTableFromText\w+"
    r"|(DTensor)?(Save|Restore)(V2|Slice|Slices)?|DistributedSave|MergeV2Checkpoints|LoadAndRemap\w+"
    r"|\w+Reader(V2)?|RecordInput|(TextLine|FixedLengthRecord|TFRecord|LMDB|CSV|Sql)Dataset\w*"
    r"|\w*Snapshot\w*|(Cache|Load|Save)Dataset\w*|DatasetToTFRecord|DecodeProto\w*|EncodeProto"
    r"|Print\w*|Debug\w+|DumpTensor|CalibrationStatisticsSaver|ImportEvent|\w*Summary\w*"
    r"|GenerateVocabRemapping|FixedUnigramCandidateSampler|Skipgram"
    r"|\w*FromGraph|MlirPassthroughOp|TRTEngineOp|RemoteFusedGraph\w+|XlaCustomCall\w*|XlaCallModule"
    ")"
)


def check_saved_model(path: str | os.PathLike[str]) -> None:
    """Checks a SavedModel's files and graph; runs nothing of it.

    Args:
      path: the folder, as `tf.saved_model.load` will be given it.

    Raises:
      UserError: no SavedModel of TensorFlow 2, or a damaged one; a file or asset that leads out of
        the folder; an operation of the graph that a classifier has no use for.
    """
    folder = Path(path)
    _require_files_inside(folder)
    meta_graph = _read_meta_graph(folder)
    for asset in meta_graph.asset_file_def:
        if leads_out(asset.filename):
            raise UserError(f"{folder} is refused: its asset {asset.filename!r} is outside of it")
    operations = sorted(_refused_operations(meta_graph))
    if operations:
        raise UserError(
            f"{folder} is refused: its graph holds {', '.join(operations)}, which can reach files, "
            "the network or code outside of it; export the classifier without that"
        )


def _require_files_inside(folder: Path) -> None:
    root = os.path.realpath(folder)
    shared = _blobs_of_a_hub(Path(root))
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            entry = os.path.join(parent, name)
            target = os.path.realpath(entry)
            is_blob = os.path.dirname(target) == shared and os.path.isfile(target)
            if os.path.commonpath([root, target]) != root and not is_blob:
                raise UserError(f"{folder} is refused: {entry} links to a place outside of it")
            mode = os.stat(entry, follow_symlinks=False).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                raise UserError(f"{folder} is refused: {entry} is neither a file nor a folder")


def _blobs_of_a_hub(folder: Path) -> str | None:
    """Where files of a model hub's cache lie: `REPOSITORY/snapshots/REVISION/...` links there."""
    for parent in (folder, *folder.parents):
        if parent.parent.name == "snapshots":
            return str(parent.parent.parent / "blobs")
    return None


def _read_meta_graph(folder: Path) -> MetaGraphDef:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / "saved_model.pb"  # TensorFlow reads other names only where this is missing.
    try:
        saved_model = SavedModel.FromString(file.read_bytes())
    except OSError as error:
        raise UserError(f"{folder} holds no saved_model.pb ({error.strerror})") from error
    except DecodeError as error:
        raise UserError(f"{file} is damaged: {error}") from error
    if len(saved_model.meta_graphs) != 1 or not saved_model.meta_graphs[0].object_graph_def.nodes:
        raise UserError(
            f"{folder} is not a SavedModel of TensorFlow 2; export the classifier with "
            "tf.saved_model.save or model.export"
        )
    return saved_model.meta_graphs[0]


def _refused_operations(meta_graph: MetaGraphDef) -> set[str]:
    """Refused operations anywhere but in the functions that save and restore its variables.

    Every SavedModel has those two, and loading it runs neither: they are refused as well where
    anything else calls them.
    """
    graph, saver = meta_graph.graph_def, meta_graph.saver_def
    saver_nodes = (saver.save_tensor_name.partition(":")[0], saver.restore_op_name)
    saver_functions = {
        name for node in graph.node if node.name in saver_nodes for name in _calls(node)
    }
    nodes = [node for node in graph.node if node.name not in saver_nodes]
    called = set(meta_graph.object_graph_def.concrete_functions)
    library = graph.library
    called.update(gradient.gradient_func for gradient in library.gradient)
    called.update(gradient.gradient_func for gradient in library.registered_gradients)
    for function in library.function:
        if function.signature.name not in saver_functions:
            nodes.extend(function.node_def)
    called.update(name for node in nodes for name in _calls(node))
    for function in library.function:
        if function.signature.name in saver_functions & called:
            nodes.extend(function.node_def)
    return {node.op for node in nodes if _REFUSED_OPERATIONS.fullmatch(node.op)}


def _calls(node: NodeDef) -> Iterator[str]:
    """Names of the functions that a node may call: its operation can be one, and its attributes."""
    yield node.op
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)
