"""The benchmark of reading reads what it wrote."""

import pytest

from fsgan_tf.data import loading
from tools import benchmark_data


@pytest.mark.parametrize("stored", ["folder", "tfrecord", "array_record"])
def test_what_is_written_is_read_and_timed(tmp_path, monkeypatch, stored):
    monkeypatch.setattr(benchmark_data, "_DISTINCT", 4)
    name, options = benchmark_data.write(stored, tmp_path, 330, 16)
    measured = benchmark_data.measure(name, {**options, "memory_limit": 1e-9}, 2)
    assert set(measured) == {"images_per_second", "seconds_to_first", "peak_gib"}
    assert min(measured.values()) > 0
    if stored != "folder":
        assert len(loading.load_split(name, "train", **options)[0]) == 330
