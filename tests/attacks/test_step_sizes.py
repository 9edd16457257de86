import pytest

from fsgan_tf.attacks.parts.step_sizes import intervals


@pytest.mark.parametrize(
    ("num_steps", "expected"), [(100, (22, 3, 6)), (50, (11, 1, 3)), (5, (1, 1, 1))]
)
def test_intervals(num_steps, expected):
    assert intervals(num_steps) == expected
