"""How a check refuses a model."""

from pathlib import Path

import pytest

from fsgan_tf.errors import UserError


def refused(check, path: Path) -> str:
    with pytest.raises(UserError) as error:
        check(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message
