"""What the training methods are made of.

`TrainingMethod` has the algorithm's vocabulary, `LearntAdversary` a generator beside the
classifier, `RampedConsistency` a weight that rises over the training.
"""

from fsgan_tf.methods.base.learnt_adversary import LearntAdversary
from fsgan_tf.methods.base.ramped_consistency import RampedConsistency
from fsgan_tf.methods.base.training_method import TrainingMethod
from fsgan_tf.methods.parts.batches import Batch
from fsgan_tf.methods.parts.losses import accuracy

__all__ = ["Batch", "LearntAdversary", "RampedConsistency", "TrainingMethod", "accuracy"]
