"""What is watched and done around the steps of a training, one subject a file.

Each is a Keras callback. A training from Python passes those it wants to `fit` of a
`TrainingMethod`:

    robust_accuracy = RobustAccuracy(images, labels)
    method.fit(train, epochs=30, callbacks=[robust_accuracy, Warnings(), EpochLine(30)])

They read the epoch's figures from `logs` and add their own to it, so that those after them, and
Keras' `History`, have them: `RobustAccuracy` stands before what shows or judges accuracies.
"""

from fsgan_tf.training.callbacks.best_epoch import BestEpoch
from fsgan_tf.training.callbacks.checkpointing import Checkpointing
from fsgan_tf.training.callbacks.diagnoses import Diagnoses
from fsgan_tf.training.callbacks.epoch_line import EpochLine
from fsgan_tf.training.callbacks.finite_reports import FiniteReports
from fsgan_tf.training.callbacks.generator_displacement import GeneratorDisplacement
from fsgan_tf.training.callbacks.learning_rates import LearningRates
from fsgan_tf.training.callbacks.metrics_file import MetricsFile
from fsgan_tf.training.callbacks.pictures import Pictures
from fsgan_tf.training.callbacks.progress_bar import ProgressBar
from fsgan_tf.training.callbacks.robust_accuracy import RobustAccuracy
from fsgan_tf.training.callbacks.step_learning_rates import StepLearningRates
from fsgan_tf.training.callbacks.tensorboard_scalars import TensorBoardScalars
from fsgan_tf.training.callbacks.throughput import Throughput
from fsgan_tf.training.callbacks.warnings import Warnings

__all__ = [
    "BestEpoch",
    "Checkpointing",
    "Diagnoses",
    "EpochLine",
    "FiniteReports",
    "GeneratorDisplacement",
    "LearningRates",
    "MetricsFile",
    "Pictures",
    "ProgressBar",
    "RobustAccuracy",
    "StepLearningRates",
    "TensorBoardScalars",
    "Throughput",
    "Warnings",
]
