"""Adversarial images on disk: written by one evaluation, verified again by a later one.

An `.npz` file of `indices`, `images`, `labels`, `attacks` and `predictions`, as in
`AdversarialExamples`, and of `norm`, `epsilon`, `seed`, `dataset_sha256` and `classifier_sha256`,
which say what they were made on. Nothing in it is code.
"""

import dataclasses
import hashlib
import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Access, Attempt
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation.result import Result
from fsgan_tf.files import write_atomically
from fsgan_tf.threat_model import ThreatModel

FILE_NAME = "adversarial_examples.npz"


def save(path: Path, result: Result, *, dataset_sha256: str, classifier_sha256: str) -> None:
    """Writes the adversarial images of a result, whole or not at all.

    Args:
      path: of the file.
      result: what was found.
      dataset_sha256: hash of the examples evaluated.
      classifier_sha256: hash of the classifier.
    """
    examples = result.examples
    content = io.BytesIO()
    np.savez(
        content,
        indices=examples.indices,
        images=examples.images,
        labels=examples.labels,
        attacks=np.array(examples.attacks, np.str_),
        predictions=examples.predictions,
        norm=np.array(result.threat_model.norm),
        epsilon=np.array(result.threat_model.epsilon),
        seed=np.array(result.seed),
        dataset_sha256=np.array(dataset_sha256),
        classifier_sha256=np.array(classifier_sha256),
    )
    write_atomically(path, content.getvalue())


@dataclasses.dataclass(frozen=True, eq=False)
class SavedExamples:
    """Proposes the images of a file for the examples that they were made from.

    Attributes:
      path: of the file.
      sha256: of the file.
      indices: int64 `[m]`, rising positions among the evaluated examples.
      images: float32 `[m, h, w, c]`.
    """

    path: str
    sha256: str
    indices: np.ndarray
    images: np.ndarray

    name = "saved_examples"
    access: ClassVar[Access] = "none"
    restarts = 1
    cost = 0

    @property
    def parameters(self) -> dict[str, Any]:
        """What results.json says of this attack."""
        return {
            "restarts": self.restarts,
            "path": self.path,
            "sha256": self.sha256,
            "num_images": len(self.indices),
        }

    def run(
        self,
        classifier: AttackedClassifier,
        threat_model: ThreatModel,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        restart: int,
    ) -> Attempt:
        """Claims nothing, since every image is judged anew; see `Attack.run`."""
        del classifier, threat_model, labels, restart
        positions = seeds.numpy()[:, 1]
        rows = np.searchsorted(self.indices, positions)
        is_saved = np.isin(positions, self.indices)
        proposed = images.numpy()
        proposed[is_saved] = self.images[rows[is_saved]]
        return Attempt(tf.constant(proposed), tf.zeros(is_saved.shape, tf.bool))


def load(
    path: str, image_shape: tuple[int, ...], dataset_sha256: str, norm: str = "linf"
) -> SavedExamples:
    """Reads the images that an earlier evaluation saved.

    Args:
      path: of the file.
      image_shape: `(h, w, c)` of the examples that are evaluated now.
      dataset_sha256: their hash.
      norm: that measures perturbations now.

    Raises:
      UserError: no such file, or its images are of other examples or of another norm.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {path} ({error.strerror}); give a file of --save_examples"
        ) from error
    indices, images, made_on, made_in = _parse(path, content)
    if images.shape[1:] != tuple(image_shape):
        raise UserError(
            f"{path} holds images of shape {images.shape[1:]}; the examples have "
            f"{tuple(image_shape)} (see --dataset and --image_size)"
        )
    if made_on != dataset_sha256:
        raise UserError(
            f"{path} was made from other examples than those evaluated now; give the same "
            "--dataset, --split and --num_examples"
        )
    if made_in != norm:
        raise UserError(f"{path} holds perturbations of {made_in}; give --norm={made_in}")
    return SavedExamples(path, hashlib.sha256(content).hexdigest(), indices, images)


def _parse(path: str, content: bytes) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Indices, images, the data's hash and the norm, checked as far as the file alone tells."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            # What is no array in the archive comes as bytes.
            indices, images = np.asarray(archive["indices"]), np.asarray(archive["images"])
            dataset_sha256 = str(archive["dataset_sha256"])
            # Earlier versions had one norm, and did not say it.
            norm = str(archive["norm"]) if "norm" in archive else "linf"
    except Exception as error:  # Damaged archives raise many kinds, all about what is in the file.
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path} holds no adversarial examples ({reason}); give a file of --save_examples"
        ) from error
    if not (
        images.dtype == np.float32
        and images.ndim == 4
        and np.issubdtype(indices.dtype, np.integer)
        and indices.shape == images.shape[:1]
        and np.all(indices[1:] > indices[:-1])  # the difference of unsigned ones is never negative
        and np.all(indices >= 0)
    ):
        raise UserError(
            f"{path} holds indices {indices.dtype} {indices.shape} and images {images.dtype} "
            f"{images.shape}; they must be rising integers [m] and float32 [m, h, w, c]"
        )
    return indices.astype(np.int64), images, dataset_sha256, norm
