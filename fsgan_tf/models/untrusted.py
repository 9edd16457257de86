"""What a model file from elsewhere must pass before it is loaded: no code, no foreign paths.

A SavedModel is a program. Loading and calling it runs the operations of its graph, some of which
read and write files or run what no check can see; a `.keras` file names Python classes. Both are
checked here without running anything of them. It is not a sandbox: a model may still compute for
ever, and the parsers of TensorFlow and HDF5 themselves are trusted.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from fsgan_tf.errors import UserError

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
    r"|\w*FromGraph|MlirPassthroughOp|TRTEngineOp|RemoteFusedGraph\w+|XlaCustomCall\w*|XlaCallModule"
    ")"
)

# Layers that hold Python code, or open files that their configuration names.
_REFUSED_LAYERS = {
    "FlaxLayer",
    "IntegerLookup",
    "JaxLayer",
    "Lambda",
    "StringLookup",
    "TFSMLayer",
    "TextVectorization",
    "TorchModuleWrapper",
    "__lambda__",
}
_KERAS_FILES = re.compile(r"config\.json|metadata\.json|model\w*\.weights\.(h5|json)|assets/.*")
_HDF5_ENDINGS = (".h5", ".hdf5")
_MAX_CONFIG_BYTES = 2**26
# Weights hardly compress: what swells more is made to fill the memory.
_MAX_EXPANSION = 20
_ALLOWED_BYTES = 2**26  # whatever the archive's own size


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
        if _leads_out(asset.filename):
            raise UserError(f"{folder} is refused: its asset {asset.filename!r} is outside of it")
    operations = sorted(_refused_operations(meta_graph))
    if operations:
        raise UserError(
            f"{folder} is refused: its graph holds {', '.join(operations)}, which can reach files, "
            "the network or code outside of it; export the classifier without that"
        )


def check_keras_file(path: str | os.PathLike[str]) -> None:
    """Checks a Keras file of either kind; see `check_keras_archive` and `check_keras_hdf5`.

    Raises:
      UserError: as they do, or the file's name has another ending.
    """
    if not Path(path).exists():
        raise UserError(f"there is no file {path}; --keras_model takes a .keras, .h5 or .hdf5 file")
    if Path(path).suffix in _HDF5_ENDINGS:
        check_keras_hdf5(path)
    else:
        check_keras_archive(path)


def check_keras_archive(path: str | os.PathLike[str]) -> None:
    """Checks a `.keras` file's archive, configuration and weights file; builds nothing of it.

    Args:
      path: the file, as `keras.models.load_model` will be given it.

    Raises:
      UserError: no `.keras` file, or a damaged one; a member's name that leads out of the archive
        or does not belong there; a size far above the stored one; a class that is not Keras' own,
        or holds code; weights stored in other files.
    """
    file = Path(path)
    if file.suffix != ".keras":  # Keras chooses the reader by it.
        raise UserError(
            f"{file} is not a Keras file by its ending, .keras, .h5 or .hdf5; save the model as one"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            _check_members(file, archive)
            _check_config(file, archive)
            for member in archive.namelist():
                if member.endswith(".h5"):
                    with archive.open(member) as weights:
                        _check_weights(file, weights)
    except UserError:
        raise
    except Exception as error:  # damaged archives, JSON and HDF5 raise almost anything
        reason = str(error).partition("\n")[0]
        raise UserError(f"{file} is not a readable .keras file: {reason}") from error


def check_keras_hdf5(path: str | os.PathLike[str]) -> None:
    """Checks a `.h5` or `.hdf5` file's configuration and weights; builds nothing of it.

    Args:
      path: the file, as `keras.models.load_model` will be given it.

    Raises:
      UserError: no HDF5 file of a whole model, or a damaged one; a class that is not Keras' own, or
        holds code; weights that lie in other files, or are far larger than the file.
    """
    import h5py

    file = Path(path)
    try:
        with file.open("rb") as stream:
            with h5py.File(stream, "r") as model:
                text = model.attrs.get("model_config")
                size = _unpacked_bytes(model)
            if text is None:
                raise UserError(
                    f"{file} holds weights alone, without the model's layers; build the model, "
                    "load them with model.load_weights, and save it whole with model.save"
                )
            _check_size(file, size)
            _check_values(file, json.loads(text))
            _check_weights(file, stream)
    except UserError:
        raise
    except Exception as error:  # damaged JSON and HDF5 raise almost anything
        reason = str(error).partition("\n")[0]
        raise UserError(f"{file} is not a readable HDF5 file of Keras: {reason}") from error


def hdf5_keras_version(path: Path) -> str:
    """The version of Keras that wrote a checked HDF5 file; empty where it does not say."""
    import h5py

    try:
        with h5py.File(path, "r") as model:
            return str(model.attrs.get("keras_version", ""))
    except OSError:
        return ""


def _unpacked_bytes(model: Any) -> int:
    """Of all arrays of an HDF5 file."""
    import h5py

    sizes: list[int] = []

    def add(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            sizes.append(item.nbytes)

    model.visititems(add)
    return sum(sizes)


def _check_size(file: Path, size: int) -> None:
    if size > max(_ALLOWED_BYTES, _MAX_EXPANSION * file.stat().st_size):
        raise UserError(
            f"{file} is refused: it would unpack to {size / 1e9:.1f} GB, more than "
            f"{_MAX_EXPANSION} times its size"
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


def _check_members(file: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    for member in members:
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        name = member.filename
        if _leads_out(name) or is_link or not _KERAS_FILES.fullmatch(name):
            raise UserError(f"{file} is refused: it holds {name!r}, which no .keras file does")
    if len({member.filename for member in members}) != len(members):
        raise UserError(f"{file} is refused: it holds two members of one name")
    _check_size(file, sum(member.file_size for member in members))


def _check_config(file: Path, archive: zipfile.ZipFile) -> None:
    if archive.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
        raise UserError(f"{file} is refused: its config.json is above {_MAX_CONFIG_BYTES} bytes")
    config = json.loads(archive.read("config.json"))
    if isinstance(config, dict):
        # How it was trained is not loaded; metrics and losses may be the user's own.
        config.pop("compile_config", None)
        _refuse_subclassed(file, config)
    _check_values(file, config)


def _refuse_subclassed(file: Path, config: dict[str, Any]) -> None:
    name, module = config.get("class_name"), str(config.get("module"))
    if name in ("Functional", "Sequential") or module.partition(".")[0] == "keras":
        return
    raise UserError(
        f"{file} is refused: it holds a model of the class {name}, whose code is not in the file; "
        "where that class is defined, call model.export(DIR), and give --saved_model=DIR"
    )


def _check_values(file: Path, config: Any) -> None:
    values: list[Any] = [config]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            _check_class(file, value)
            values.extend(value.values())
        elif isinstance(value, list):
            values.extend(value)


def _check_class(file: Path, config: dict[str, Any]) -> None:
    """Refuses a serialized object whose class is not one of Keras' own that hold no code."""
    name, module = config.get("class_name"), config.get("module")
    registered = config.get("registered_name")
    if name is None:
        return
    if str(name) in _REFUSED_LAYERS:
        raise UserError(
            f"{file} is refused: its {name} holds code or names files, which a classifier must "
            "not; build the model from other layers"
        )
    is_keras = module is None or module == "builtins" or str(module).partition(".")[0] == "keras"
    if not is_keras or ">" in str(registered):
        raise UserError(
            f"{file} is refused: {name} of {registered if is_keras else module} is not Keras' own; "
            "save the model without custom classes, or as a SavedModel by model.export"
        )


def _check_weights(file: Path, stream: IO[bytes]) -> None:
    """Refuses HDF5 weights that lie in other files."""
    import h5py

    def foreign(name: str, link: Any) -> str | None:
        if isinstance(link, h5py.ExternalLink):
            return name
        found = weights[name] if isinstance(link, h5py.HardLink) else None
        is_foreign = isinstance(found, h5py.Dataset) and (found.external or found.is_virtual)
        return name if is_foreign else None

    with h5py.File(stream, "r") as weights:
        name = weights.visititems_links(foreign)
    if name:
        raise UserError(f"{file} is refused: its weights {name} lie in another file")


def _leads_out(name: str) -> bool:
    """Whether a file's name is absolute, climbs up, or would do so on another system."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
