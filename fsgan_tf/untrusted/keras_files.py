"""What a Keras file must pass before it is loaded, a `.keras` one or one of HDF5.

It names Python classes, which loading would import and call.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zipfile
from pathlib import Path
from typing import IO, Any

from fsgan_tf.errors import UserError
from fsgan_tf.untrusted.names import leads_out

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
            sizes = []
            for member in archive.namelist():
                if member.endswith(".h5"):
                    with archive.open(member) as weights:
                        sizes.append(_check_weights(file, weights))
            _check_size(file, sum(sizes))
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
            if text is None:
                raise UserError(
                    f"{file} holds weights alone, without the model's layers; build the model, "
                    "load them with model.load_weights, and save it whole with model.save"
                )
            _check_size(file, _check_weights(file, stream))
            _check_values(file, json.loads(text))
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


def _check_members(file: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    for member in members:
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        name = member.filename
        if leads_out(name) or is_link or not _KERAS_FILES.fullmatch(name):
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


def _check_weights(file: Path, stream: IO[bytes]) -> int:
    """Refuses HDF5 weights that lie in other files; returns the bytes of all its arrays."""
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
        return _unpacked_bytes(weights)
