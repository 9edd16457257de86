"""Keras files that must not be loaded, made as an attacker would make them."""

import io
import json
import stat
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from fsgan_tf.untrusted.keras_files import (
    check_keras_archive,
    check_keras_file,
    check_keras_hdf5,
    hdf5_keras_version,
)
from tests.untrusted.refusal import refused


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory) -> Path:
    layers = [keras.Input((4,)), keras.layers.Dense(2, activation="relu")]
    path = tmp_path_factory.mktemp("untrusted") / "model.keras"
    keras.Sequential(layers).save(path)
    return path


def repack(source: Path, target: Path, compression=zipfile.ZIP_STORED, **contents) -> Path:
    """Copies an archive with members replaced or added; `config` changes the parsed JSON."""
    change = contents.pop("config", None)
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | contents
    if change:
        config = json.loads(members["config.json"])
        change(config)
        members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def test_a_keras_file_of_its_own_layers_passes(keras_file):
    check_keras_archive(keras_file)


@pytest.mark.parametrize(
    "member", ["../escape.txt", "/etc/escape", "assets/../../escape", "model.pkl", "run.py"]
)
def test_members_that_lead_out_or_do_not_belong_are_refused(keras_file, tmp_path, member):
    path = repack(keras_file, tmp_path / "model.keras", **{member: b"x"})
    assert repr(member) in refused(check_keras_archive, path)


def test_weights_in_an_archive_that_would_fill_the_memory_are_refused(keras_file, tmp_path):
    contents = {}
    for number in range(2):
        stream = io.BytesIO()
        with h5py.File(stream, "w") as weights:
            # Stored as nothing but its shape, in a small file and a small archive.
            weights.create_dataset("layers/bomb", (2**29,), "float32", chunks=(2**20,))
        contents[f"model_{number}.weights.h5"] = stream.getvalue()
    path = repack(keras_file, tmp_path / "model.keras", **contents)
    assert path.stat().st_size < 50_000
    assert "would unpack to 4.3 GB" in refused(check_keras_archive, path)


def test_a_link_in_an_archive_is_refused(keras_file, tmp_path):
    path = repack(keras_file, tmp_path / "model.keras")
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "'assets/link'" in refused(check_keras_archive, path)


def test_an_archive_that_swells_is_refused(keras_file, tmp_path):
    bomb = {"assets/zeros": bytes(2**27)}
    path = repack(keras_file, tmp_path / "model.keras", zipfile.ZIP_DEFLATED, **bomb)
    assert "unpack to 0.1 GB" in refused(check_keras_archive, path)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ({"class_name": "Lambda", "module": "keras.layers", "config": {}}, "Lambda holds code"),
        ({"class_name": "__lambda__", "config": {"value": "4wAA"}}, "__lambda__ holds code"),
        ({"class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}}, "TFSMLayer holds code"),
        ({"class_name": "system", "module": "os", "config": {}}, "system of os is not Keras'"),
        ({"class_name": "A", "module": "keras_tricks", "config": {}}, "of keras_tricks is not"),
        (
            {"class_name": "A", "module": None, "registered_name": "Custom>A", "config": {}},
            "A of Custom>A is not",
        ),
    ],
)
def test_classes_that_are_not_keras_own_are_refused(keras_file, tmp_path, layer, told):
    def nest(config):
        config["config"]["layers"][1]["config"]["activation"] = {"inner": [layer]}

    path = repack(keras_file, tmp_path / "model.keras", config=nest)
    assert told in refused(check_keras_archive, path)


@pytest.mark.parametrize("trick", ["link", "external", "virtual"])
def test_weights_in_other_files_are_refused(keras_file, tmp_path, trick):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as weights:
        if trick == "link":
            weights["layers/x"] = h5py.ExternalLink("/etc/passwd", "/data")
        elif trick == "external":
            weights.create_dataset("x", (8,), "u1", external=[("/etc/passwd", 0, 8)])
        else:
            layout = h5py.VirtualLayout((2,), np.float32)
            layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (2,))
            weights.create_virtual_dataset("layers/x", layout)
    content = {"model.weights.h5": stream.getvalue()}
    path = repack(keras_file, tmp_path / "model.keras", **content)
    assert "its weights" in refused(check_keras_archive, path)


@pytest.mark.parametrize(
    "content",
    [
        {"config.json": b"[" * 100_000},
        {"config.json": b"\xff\xfe"},
        {"model.weights.h5": b"no HDF5"},
    ],
)
def test_damaged_members_are_one_line(keras_file, tmp_path, content):
    path = repack(keras_file, tmp_path / "model.keras", **content)
    assert "not a readable .keras file" in refused(check_keras_archive, path)


@pytest.mark.parametrize("cut", [0, 10, 2000])
def test_a_cut_archive_and_another_format_are_one_line(keras_file, tmp_path, cut):
    path = tmp_path / "model.keras"
    path.write_bytes(keras_file.read_bytes()[:cut])
    assert "not a readable .keras file" in refused(check_keras_archive, path)
    assert "save the model as one" in refused(check_keras_archive, path.rename(tmp_path / "x.h5"))


@pytest.fixture
def hdf5(tmp_path):
    """A file of Keras' own layers."""
    path = tmp_path / "m.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    return path


def test_an_hdf5_file_of_keras_layers_passes(hdf5):
    check_keras_hdf5(hdf5)
    check_keras_file(hdf5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class_name": "Lambda"}, "Lambda holds code"),
        ({"class_name": "Mine", "module": "somewhere"}, "Mine of somewhere is not Keras' own"),
        ({"registered_name": "mine>Mine"}, "is not Keras' own"),
    ],
)
def test_an_hdf5_file_with_code_is_refused(change, words, hdf5):
    with h5py.File(hdf5, "r+") as model:
        config = json.loads(model.attrs["model_config"])
        config["config"]["layers"][-1] |= change
        model.attrs["model_config"] = json.dumps(config)
    assert words in refused(check_keras_hdf5, hdf5)


def test_an_hdf5_file_whose_weights_lie_elsewhere_is_refused(hdf5, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.ones(3)
    with h5py.File(hdf5, "r+") as model:
        model["model_weights/linked"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
    assert "lie in another file" in refused(check_keras_hdf5, hdf5)


def test_an_hdf5_file_that_would_fill_the_memory_is_refused(hdf5):
    with h5py.File(hdf5, "r+") as model:
        model.create_dataset("bomb", (2**30,), "float32", compression="gzip", fillvalue=0)
    assert "would unpack to 4.3 GB" in refused(check_keras_hdf5, hdf5)


def test_a_file_that_is_no_hdf5_is_refused(tmp_path):
    (tmp_path / "m.h5").write_bytes(b"no model")
    assert "not a readable HDF5 file" in refused(check_keras_hdf5, tmp_path / "m.h5")
    (tmp_path / "m.pt").write_bytes(b"no model")
    assert "not a Keras file by its ending" in refused(check_keras_file, tmp_path / "m.pt")


def test_an_hdf5_file_says_which_keras_wrote_it(tmp_path):
    file = tmp_path / "model.h5"
    with h5py.File(file, "w") as model:
        model.attrs["keras_version"] = "2.4.0"
    assert hdf5_keras_version(file) == "2.4.0"
    with h5py.File(file, "w"):
        pass
    assert hdf5_keras_version(file) == ""
    file.write_bytes(b"damaged")
    assert hdf5_keras_version(file) == ""
