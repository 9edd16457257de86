"""Settings that several training methods share. Imports no TensorFlow.

The defaults are Feature-Scatter's for the classifier and L2L-DA's for the generator's weight decay;
a method whose authors have others says so in its own `Settings`.
"""

import dataclasses

from fsgan_tf import settings
from fsgan_tf.settings import setting

# Every step of Adam is about as long as its rate; SGD's usual one scatters the weights.
_LARGEST_ADAM_RATE = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodSettings(settings.Settings):
    """The classifier's optimizer, of every method."""

    classifier_learning_rate: float = setting(
        0.1, "Learning rate of the classifier's optimizer.", above=0, fraction=True
    )
    optimizer: str = setting(
        "sgd",
        "The classifier's optimizer: sgd, or adam with weight decay as an L2 penalty too, or adamw "
        "with weight decay beside the gradient. The last two want a smaller rate, such as "
        "--classifier_learning_rate=1e-3.",
        choices=("sgd", "adam", "adamw"),
        ours=True,
    )
    momentum: float = setting(0.9, "Momentum of every SGD optimizer.", lower=0, upper=0.999)
    weight_decay: float = setting(
        2e-4,
        "L2 penalty on every parameter of the classifier, added to its gradient; with adamw, the "
        "share of a parameter that a step of rate 1 takes away.",
        lower=0,
    )
    weight_decay_on: str = setting(
        "all",
        "Whether weight decay is on all parameters, as in the reference codes, or on kernels "
        "alone: not on biases nor on the gains of normalisation.",
        choices=("all", "kernels"),
        ours=True,
    )
    gradient_clip_norm: float = setting(
        0.0,
        "Largest l2 norm of each network's gradient, over all replicas; 0 for no limit.",
        lower=0,
    )
    ema_decay: float = setting(
        0.0,
        "Average the classifier's weights and normalisation statistics over the steps with this "
        "decay, such as 0.9995, and evaluate and export the average; 0 for none.",
        lower=0,
        ours=True,
        check=lambda decay: None if decay < 1 else "must be below 1",
    )

    def __post_init__(self) -> None:
        """Refuses an optimizer at a rate that is another's."""
        super().__post_init__()
        if self.optimizer != "sgd" and self.classifier_learning_rate > _LARGEST_ADAM_RATE:
            raise ValueError(
                f"classifier_learning_rate is {self.classifier_learning_rate:g}, and with "
                f"optimizer={self.optimizer} it must be at most {_LARGEST_ADAM_RATE:g}; give one "
                "such as 1e-3"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightPerturbationSettings(settings.Settings):
    """Of methods whose classifier learns through `TrainingMethod.descend`."""

    awp_gamma: float = setting(
        0.0,
        "Descend at kernels moved up the loss by this share of their norm (arXiv:2004.05884), such "
        "as 0.005; 0 for none.",
        lower=0,
        ours=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratorSettings(MethodSettings):
    """The network of a learnt adversary and its optimizer."""

    generator_width: int = setting(16, "Channels of the generator's first block.", lower=1)
    generator_learning_rate: float = setting(
        7.8e-3, "Learning rate of the generator's optimizer.", above=0, fraction=True
    )
    generator_optimizer: str = setting("sgd", "The generator's optimizer.", choices=("sgd", "adam"))
    generator_weight_decay: float = setting(
        1e-5, "L2 penalty on every parameter of the generator, added to its gradient.", lower=0
    )
    generator_lr_decay: bool = setting(
        True, "Whether the generator's learning rate drops with the classifier's."
    )


def consistency_weight(default: float) -> float:
    """The setting of methods that hold the logits before and after a step together."""
    return setting(
        default,
        "lambda, the weight of the consistency of logits; in single_step_consistency and "
        "generated_step it rises from 0 to this.",
        lower=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RampedConsistencySettings(MethodSettings):
    """Of methods that hold logits together the more, the longer they have trained."""

    consistency_weight: float = consistency_weight(10.0)
    consistency_ramp_steps: int | None = setting(
        None,
        "Steps over which --consistency_weight is reached; those of the training if not given.",
        lower=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransportSettings(settings.Settings):
    """The optimal-transport distance between the logits of two batches."""

    entropic_regularization: float = setting(
        0.01,
        "Entropic regularisation of the transport plan; a larger one blurs it more.",
        above=0,
        fraction=True,
    )
    sinkhorn_solver: str = setting(
        "reference",
        "reference stops iterating where Feature-Scatter's code does; converged goes on until "
        "the transport plan uses every image up.",
        choices=("reference", "converged"),
    )


def label_smoothing(default: float) -> float:
    """The setting of methods that smooth labels."""
    return setting(
        default,
        "Probability taken from the true class and shared out among the others.",
        lower=0,
        upper=0.999,
    )


def start_noise(default: float) -> float:
    """The setting of methods whose step starts from noise outside the ball too."""
    return setting(
        default, "Largest start noise of a pixel, in units of epsilon.", lower=0, fraction=True
    )


def attack_step_size(default: float) -> float:
    """The setting of methods that step along a gradient's sign."""
    return setting(
        default, "Length of the adversary's step, in units of epsilon.", above=0, fraction=True
    )


def attack_iterations(default: int, upper: int | None = None) -> int:
    """The setting of methods whose adversary takes steps."""
    return setting(
        default,
        "Steps of the training adversary, or passes of its generator.",
        lower=1,
        upper=upper,
    )


def diversity_weight(default: float) -> float:
    """The setting of methods with a diversity loss."""
    return setting(default, "Weight of the diversity loss (lambda).", lower=0)


def latent_dim(default: int) -> int:
    """The setting of methods whose generator takes a latent vector."""
    return setting(default, "Dimension of the generator's latent vector.", lower=1)
