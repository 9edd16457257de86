"""What a training run is asked to do, whatever its method, network and data."""

import dataclasses

from fsgan_tf import methods, norms, settings
from fsgan_tf.networks import classifiers
from fsgan_tf.settings import setting

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
MAX_ROLLBACKS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings(settings.Settings):
    """Length, schedule, threat model, seed, devices and arithmetic of a training."""

    def __post_init__(self) -> None:
        """Also checks epsilon in its norm, and the norm with the method."""
        super().__post_init__()
        if fault := norms.radius_fault(self.norm, self.epsilon):
            raise ValueError(f"--epsilon={self.epsilon:g}: {fault}")
        if self.norm not in methods.norms_of(self.method):
            able = [name for name in methods.names() if self.norm in methods.norms_of(name)]
            others = (
                f"in {self.norm} --method={' or '.join(able)} does" if able else "no method does"
            )
            raise ValueError(
                f"--norm={self.norm}: --method={self.method} trains in linf alone; {others}"
            )

    run_dir: str | None = setting(None, "Folder of this run; runs/DATASET_METHOD by default.")
    dry_run: bool = setting(
        False,
        "Print the resolved configuration and its cost, then stop. A TFDS set that is not there is "
        "downloaded first, but for the paper's three.",
    )
    method: str = setting("fs_gan", "Training method.", choices=methods.names)
    architecture: str = setting(
        "wide_resnet",
        f"The classifier's network: {', '.join(classifiers.names())}; FILE.keras, which starts "
        "from the weights it holds; or module:function, called with num_classes, image_shape and "
        "dtype.",
        check=classifiers.fault,
    )
    init_from: str | None = setting(
        None,
        "Start from the classifier of this run, or from one that comes with the package, of the "
        "same shape and classes; l2l_da's authors start from one trained with --method=standard.",
    )
    norm: str = setting(
        "linf",
        "Norm that measures perturbations; pgd_at alone trains in l2.",
        choices=norms.NAMES,
    )
    epsilon: float = setting(
        13 / 255,
        "Radius of the ball of perturbations: in linf the largest change of a pixel, on the scale "
        "of [0,1], such as 8/255; in l2 and l1 the norm of all changes, such as 0.5 and 12 for "
        "images of CIFAR-10.",
        above=0,
        fraction=True,
    )
    epochs: int = setting(15, "Passes over the training set.", lower=1)
    batch_size: int = setting(
        64,
        "Examples in a step, for each replica; optimal transport pairs the examples of one "
        "replica.",
        lower=2,
    )
    last_batch: str = setting(
        "drop",
        "Images that fill no whole batch at the end of an epoch: drop them, different ones in "
        "every epoch, or keep them as a smaller batch, as most methods' authors do; keep is for "
        "one replica.",
        choices=("drop", "keep"),
    )
    eval_examples: int = setting(
        1000, "Test examples attacked once at the end; 0 skips the evaluation.", lower=0
    )
    schedule: str = setting(
        "steps",
        "Learning rates over the training: steps drops them at --lr_decay_epochs; one_cycle rises "
        "to the rate by half of all steps and falls to 0; cosine falls from the rate to 0.",
        choices=("steps", "one_cycle", "cosine"),
    )
    lr_decay_epochs: tuple[int, ...] = setting(
        (10, 13), "Epochs (from 0) at which learning rates are multiplied by --lr_decay_factor."
    )
    lr_decay_factor: float = setting(
        0.1, "What learning rates are multiplied by at --lr_decay_epochs.", lower=0, upper=1
    )
    keep: str = setting(
        "last",
        "The classifier that is exported and evaluated: of the last epoch, or of the best by "
        "multi-step accuracy (PGD-10) on the first 256 held-out images.",
        choices=("last", "best"),
    )
    seed: int = setting(
        0,
        "Seed of the initial weights, of the order of the data and of every random draw.",
        lower=0,
    )
    strategy: str = setting(
        "auto",
        "auto: all GPUs where there are several (mirrored), else one device; multi_worker: one "
        "of the workers that TF_CONFIG names (tools/launch_local.sh starts several on one "
        "machine).",
        choices=STRATEGIES,
    )
    precision: str = setting(
        "auto",
        "auto: mixed_bfloat16 where the hardware multiplies it faster than float32, else float32.",
        choices=PRECISIONS,
    )
    jit_compile: bool = setting(False, "Compile the train step with XLA.")
    deterministic: bool = setting(
        False,
        "Compute the same bits from the same seed on the same machine; docs/reliability.md "
        "says what this covers and costs.",
    )
    on_nan: str = setting(
        "stop",
        "When a loss or a weight is NaN or infinite: stop, or roll back to the last checkpoint "
        "and resume from it with other random draws and another order of the data, at most "
        f"{MAX_ROLLBACKS} times from one checkpoint.",
        choices=("stop", "rollback"),
    )
