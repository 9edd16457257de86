"""Reads what an evaluation wrote to results.json. Imports no TensorFlow."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from fsgan_tf.errors import UserError


def read(file: Path) -> dict[str, Any]:
    """The content of a results.json.

    Args:
      file: as `fsgan_tf.evaluate` writes it.

    Returns:
      Its object; the keys that every one has are there and of their types, accuracies in [0, 1].

    Raises:
      UserError: the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(file.read_bytes())
        is_known = _is_known(content)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        is_known = False
    if not is_known:
        raise UserError(f"{file} is not a valid results.json; move it away and evaluate again")
    return content


def per_image(content: dict[str, Any], name: str) -> np.ndarray | None:
    """What is said of each image, bool `[n]`; None where it is not said.

    Args:
      content: of a results.json.
      name: `clean` or `worst_case`.
    """
    found = content.get("per_image")
    text = found.get(name) if isinstance(found, dict) else None
    if not isinstance(text, str) or len(text) != content["num_examples"] or set(text) - {"0", "1"}:
        return None
    return np.array([mark == "1" for mark in text], bool)


def _is_known(content: dict[str, Any]) -> bool:
    attacks = content["attacks"]
    shares = [content["clean_accuracy"], content["worst_case_accuracy"]]
    shares += [attack["accuracy"] for attack in attacks]
    texts = [
        content["split"],
        content["classifier_sha256"],
        *(attack["name"] for attack in attacks),
    ]
    return (
        all(0 <= share <= 1 for share in shares)
        and all(isinstance(text, str) for text in texts)
        and content["num_examples"] >= 0
        and 0 < content["threat_model"]["epsilon"] < math.inf
    )
