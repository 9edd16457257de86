"""One training step of Feature-Scatter, ours beside its authors' PyTorch code.

    git clone https://github.com/Haichao-Zhang/FeatureScatter FOLDER
    git -C FOLDER checkout 77e9140
    pip install -r requirements-peers.txt
    python tools/compare_feature_scatter.py --reference=FOLDER

Both start from the same random weights and batch statistics, the same digits and the same start
noise, run the step of configs/baselines/cifar10_feature_scatter.flags on the CPU, and are compared
number by number, in float32 and in float64, where no rounding puts an activation on the other side
of a ReLU. Ours then descends on the adversarial images of theirs, so that the classifier's step is
compared on equal inputs. Pixels, noise and epsilon (1/32 for 8/255) are such that both codes add
them exactly. Ends with exit code 1 where a difference is beyond its tolerance (docs/fidelity.md).
"""

import contextlib
import dataclasses
import importlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from absl import flags

from fsgan_tf.cli import quiet, runner, training_flags
from fsgan_tf.errors import RunError, UserError

if TYPE_CHECKING:
    import keras

    from fsgan_tf.methods.feature_scatter import FeatureScatter

Arrays = dict[str, np.ndarray]

_CONFIG = Path(__file__).parents[1] / "configs" / "baselines" / "cifar10_feature_scatter.flags"
_CLASSES = 10
_EPSILON = 1 / 32
_NOISE_UNIT = 2.0**-20
# Their settings (fs_main.py and fs_train.sh), in their pixel range [-1, 1], twice as wide.
ATTACK = {
    "train": True,
    "epsilon": 2 * _EPSILON,
    "num_steps": 1,
    "step_size": 2 * _EPSILON,
    "random_start": True,
    "ls_factor": 0.5,
}
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 2e-4}
_LAYERS = {"stem": "conv1", "final_bn": "bn1", "logits": "fc"}
_BLOCK_LAYERS = {
    "pre_bn": "bn1",
    "conv1": "conv1",
    "mid_bn": "bn2",
    "conv2": "conv2",
    "shortcut": "convShortcut",
}
_VARIABLES = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Pixels further apart than rounding can put them took different signs.
_SAME_PIXEL = 1e-5


@dataclasses.dataclass(frozen=True)
class Batch:
    """What both codes are given: float32 arrays `[b, 32, 32, 3]` in pixel units, int32 labels."""

    images: np.ndarray
    labels: np.ndarray
    noise: np.ndarray


@dataclasses.dataclass(frozen=True)
class Step:
    """What one training step computed, in this project's layouts and pixel units.

    Attributes:
      clean_logits: `[b, K]`, inference mode.
      start_ot: optimal-transport distance at the start.
      ot_gradient: its gradient by the start, `[b, 32, 32, 3]`.
      adversarial_images: `[b, 32, 32, 3]` in [0, 1].
      targets: smoothed labels, `[b, K]`.
      loss: the classifier's.
      momentum: SGD's buffer of each trainable weight: the loss's gradient plus L2.
      changes: of each trainable weight by the SGD step.
      moving_means: after the step.
      moving_variances: after the step.
    """

    clean_logits: np.ndarray
    start_ot: np.ndarray
    ot_gradient: np.ndarray
    adversarial_images: np.ndarray
    targets: np.ndarray
    loss: np.ndarray
    momentum: Arrays
    changes: Arrays
    moving_means: Arrays
    moving_variances: Arrays


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One row of the table.

    Attributes:
      field: of `Step`.
      name: what is compared.
      measure: how.
      difference: of two such fields.
      float32: its largest value in float32, where rounding puts a few activations on the other
        side of a ReLU: a gradient by the weights then moves by up to about a hundredth.
      float64: likewise in float64; our logits and their transport plan stay in float32.
    """

    field: str
    name: str
    measure: str
    difference: Callable[[Any, Any], float]
    float32: float
    float64: float

    def between(self, ours: Step, theirs: Step) -> float:
        """The difference of two steps."""
        return self.difference(getattr(ours, self.field), getattr(theirs, self.field))


def relative_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """l2 norm of the difference over the l2 norm of `theirs`."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def worst(ours: Arrays, theirs: Arrays) -> float:
    """Largest relative distance of two sets of tensors."""
    return max(relative_distance(ours[name], theirs[name]) for name in ours)


def flipped_share(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of pixels that took different signs."""
    return float(np.mean(np.abs(ours - theirs) > _SAME_PIXEL))


def largest_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest absolute difference of two arrays."""
    return float(np.max(np.abs(ours - theirs)))


def unflipped_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest absolute difference of the pixels that took the same sign."""
    distance = np.abs(ours - theirs)
    return float(np.max(distance, where=distance <= _SAME_PIXEL, initial=0))


_RELATIVE, _WORST = "relative l2", "relative l2, worst tensor"
_QUANTITIES = (
    Quantity(
        "clean_logits", "logits of the clean images", _RELATIVE, relative_distance, 1e-5, 1e-6
    ),
    Quantity("targets", "smoothed labels", "largest", largest_distance, 1e-6, 1e-6),
    Quantity("start_ot", "OT distance of the start", "relative", relative_distance, 5e-4, 5e-4),
    Quantity("ot_gradient", "its gradient by the start", _RELATIVE, relative_distance, 1e-2, 1e-4),
    Quantity("adversarial_images", "pixels of another sign", "share", flipped_share, 1e-3, 1e-4),
    Quantity("adversarial_images", "other pixels", "largest", unflipped_distance, 1e-6, 1e-6),
    Quantity("loss", "loss", "relative", relative_distance, 1e-5, 1e-6),
    Quantity("momentum", "gradient by the weights, plus L2", _WORST, worst, 3e-2, 1e-5),
    Quantity("changes", "change of the weights by SGD", _WORST, worst, 3e-2, 1e-5),
    Quantity("moving_means", "moving means", _WORST, worst, 1e-5, 1e-6),
    Quantity("moving_variances", "moving variances", _WORST, worst, 1e-5, 1e-3),
)


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Runs both codes, prints the table and judges it."""
    del words
    torch, code = reference_code(flag_values.reference)
    quiet.start_tensorflow()
    import tensorflow as tf

    # A GPU multiplies float32 with fewer digits.
    tf.config.set_visible_devices([], "GPU")
    batch = _batch(flag_values.batch_size, flag_values.seed)
    steps = {}
    for dtype in ("float32", "float64"):
        method = _method(flag_values, dtype)
        theirs = reference_step(torch, code, method.classifier, batch, dtype)
        steps[dtype] = our_step(method, batch, theirs.adversarial_images), theirs
    print(
        f"{method.classifier.name}, batch of {len(batch.labels)} digits, seed {flag_values.seed}; "
        f"PyTorch {torch.__version__}, TensorFlow {tf.__version__}, NumPy {np.__version__}; CPU\n"
    )
    failed = _print_table(steps)
    if failed:
        raise RunError(f"beyond tolerance: {', '.join(failed)}")


def _print_table(steps: dict[str, tuple[Step, Step]]) -> list[str]:
    """Prints a row a quantity and returns the names of those beyond tolerance."""
    failed = []
    print("| quantity | measure | float32 (at most) | float64 (at most) |")
    print("| --- | --- | --- | --- |")
    for quantity in _QUANTITIES:
        cells = [quantity.name, quantity.measure]
        for dtype, (ours, theirs) in steps.items():
            difference, limit = quantity.between(ours, theirs), getattr(quantity, dtype)
            cells.append(f"{difference:.1e} ({limit:.0e})")
            # Not "above": a NaN is beyond any tolerance.
            if not difference <= limit:
                failed.append(f"{quantity.name} in {dtype}")
        print(f"| {' | '.join(cells)} |")
    return failed


def _method(values: flags.FlagValues, dtype: str) -> "FeatureScatter":
    """Ours as the configuration has it, its weights and batch statistics random."""
    from fsgan_tf import devices
    from fsgan_tf.training.build import build_method

    training = training_flags.parse(
        [
            f"--flagfile={_CONFIG}",
            f"--classifier_depth={values.classifier_depth}",
            f"--classifier_width={values.classifier_width}",
            f"--seed={values.seed}",
            f"--epsilon={_EPSILON}",
        ]
    )
    # No training is worth float64, so --precision does not offer it.
    with mock.patch.object(devices, "resolve_precision", return_value=dtype):
        method = build_method(training, _CLASSES, (32, 32, 3))
    _randomise_normalisation(method.classifier, values.seed)
    return method


def _randomise_normalisation(classifier: "keras.Model", seed: int) -> None:
    """Kernels keep their initialisation; ones and zeros would hide an exchange of the rest."""
    generator = np.random.default_rng(seed)
    for variable in classifier.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(generator.uniform(0.5, 2.0, variable.shape))
        elif variable.name in ("beta", "moving_mean"):
            variable.assign(generator.normal(0, 0.3, variable.shape))


def _batch(size: int, seed: int) -> Batch:
    """Digits and uniform noise; their sums are exact in float32, in either pixel range."""
    from fsgan_tf.data import loading

    examples = loading.load("digits").train.first(size)
    images = (examples.images / 256).astype(np.float32)
    most = round(_EPSILON / _NOISE_UNIT)
    noise = np.random.default_rng(seed).integers(-most, most, images.shape, endpoint=True)
    return Batch(images, examples.labels, (noise * _NOISE_UNIT).astype(np.float32))


def our_step(method: "FeatureScatter", batch: Batch, descend_on: np.ndarray) -> Step:
    """Runs `method`'s first training step.

    Args:
      method: not trained yet; is trained by this.
      batch: what it is given.
      descend_on: float32 `[b, 32, 32, 3]` in [0, 1], in place of the adversarial images.

    Returns:
      What it computed; `adversarial_images` are its own.
    """
    import tensorflow as tf

    from fsgan_tf.methods.parts.losses import smoothed_targets
    from fsgan_tf.methods.parts.optimal_transport import scatter_gradient

    classifier, optimizer = method.classifier, method.classifier_optimizer
    images, labels = tf.constant(batch.images), tf.constant(batch.labels)
    start = images + batch.noise
    clean_logits = classifier(images, training=False)
    ot_gradient, start_ot = scatter_gradient(
        classifier,
        clean_logits,
        start,
        method.settings.entropic_regularization,
        method.settings.sinkhorn_solver,
    )
    adversarial_images, _ = method.scatter(images, start)
    before = _values(classifier.trainable_variables)
    with mock.patch.object(method, "scatter", return_value=(descend_on, start_ot)):
        reports = method.train_step({"image": images, "label": labels})
    after = _values(classifier.weights)
    return Step(
        clean_logits=clean_logits.numpy(),
        start_ot=start_ot.numpy(),
        ot_gradient=ot_gradient.numpy(),
        adversarial_images=adversarial_images.numpy(),
        targets=smoothed_targets(labels, _CLASSES, method.settings.label_smoothing).numpy(),
        loss=reports["loss"].numpy(),
        momentum={
            name: buffer.numpy()
            for name, buffer in zip(before, optimizer.momentum_buffers, strict=True)
        },
        changes={name: after[name] - value for name, value in before.items()},
        moving_means=_named(after, "moving_mean"),
        moving_variances=_named(after, "moving_variance"),
    )


def reference_step(
    torch: Any, code: Any, classifier: "keras.Model", batch: Batch, dtype: str
) -> Step:
    """Runs one training step of the authors' code.

    Args:
      torch: the module.
      code: their module `attack_methods`.
      classifier: ours, whose weights and batch statistics theirs takes.
      batch: what it is given.
      dtype: `float32` or `float64`, of weights and images.

    Returns:
      What it computed, in our layouts and pixel units.
    """
    depth, width = map(int, classifier.name.split("_")[-2:])
    network = code.WideResNet(depth=depth, num_classes=_CLASSES, widen_factor=width)
    network.to(getattr(torch, dtype))
    before = _values(classifier.weights)
    state = {reference_name(name): torch.tensor(outputs_first(v)) for name, v in before.items()}
    _load(network, state)
    optimizer = torch.optim.SGD(network.parameters(), **SGD)
    inputs, noise = (
        torch.tensor(channels_first(pixels), dtype=getattr(torch, dtype))
        for pixels in (2 * batch.images - 1, 2 * batch.noise)
    )
    with (
        contextlib.redirect_stdout(io.StringIO()),
        _recorded(torch, code, noise) as calls,
    ):
        _, loss = code.Attack_FeaScatter(network, ATTACK)(inputs, torch.tensor(batch.labels).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # Their last clamp is the one to the pixel range; the transport distance clamps too.
        adversarial_images = torch.clamp(*calls["clamp"].call_args.args)
        clean_logits = calls["transport"].call_args.args[2]
        start_ot = code.ot.sinkhorn_loss_joint_IPOT(*calls["transport"].call_args.args)
        targets = code.utils.label_smoothing(*calls["smoothing"].call_args.args)
    buffers = {
        name: optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in network.named_parameters()
    }
    after = {
        name: _outputs_last(network.state_dict()[reference_name(name)].numpy()) for name in before
    }
    trainable = [variable.path for variable in classifier.trainable_variables]
    return Step(
        clean_logits=clean_logits.detach().numpy(),
        start_ot=start_ot.detach().numpy(),
        # By images in [0, 1], half as wide a range as theirs.
        ot_gradient=2 * channels_last(calls["sign"].call_args.args[0].numpy()),
        adversarial_images=channels_last((adversarial_images.numpy() + 1) / 2),
        targets=targets.numpy(),
        loss=loss.detach().numpy(),
        momentum={name: _outputs_last(buffers[reference_name(name)].numpy()) for name in trainable},
        changes={name: after[name] - before[name] for name in trainable},
        moving_means=_named(after, "moving_mean"),
        moving_variances=_named(after, "moving_variance"),
    )


def reference_name(path: str) -> str:
    """Their name of our variable: `group1_block1_conv1/kernel` is `block1.layer.0.conv1.weight`."""
    layer, variable = path.split("/")
    if layer in _LAYERS:
        return f"{_LAYERS[layer]}.{_VARIABLES[variable]}"
    group, block, within = layer.split("_", 2)
    return (
        f"block{group.removeprefix('group')}.layer.{int(block.removeprefix('block')) - 1}."
        f"{_BLOCK_LAYERS[within]}.{_VARIABLES[variable]}"
    )


def _values(variables: list) -> Arrays:
    return {variable.path: variable.numpy() for variable in variables}


def _named(values: Arrays, name: str) -> Arrays:
    return {path: value for path, value in values.items() if path.endswith(f"/{name}")}


def outputs_first(weight: np.ndarray) -> np.ndarray:
    """`[h, w, in, out]` or `[in, out]` to PyTorch's `[out, in, h, w]` or `[out, in]`."""
    return weight.transpose(3, 2, 0, 1).copy() if weight.ndim == 4 else weight.T.copy()


def _outputs_last(weight: np.ndarray) -> np.ndarray:
    """The way back, into an array of its own."""
    return weight.transpose(2, 3, 1, 0).copy() if weight.ndim == 4 else weight.T.copy()


def channels_first(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).copy()


def channels_last(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 2, 3, 1).copy()


def _load(network: Any, state: dict[str, Any]) -> None:
    missing, unexpected = network.load_state_dict(state, strict=False)
    left = [name for name in missing if not name.endswith("num_batches_tracked")]
    if left or unexpected:
        raise RunError(f"the two networks differ: {left} only theirs, {unexpected} only ours")


def reference_code(folder: str | None, flag: str = "reference") -> tuple[Any, Any]:
    """PyTorch and the authors' `attack_methods`, imported from the folder that `flag` names.

    Raises:
      UserError: one of them is not there.
    """
    if folder is None or not (Path(folder) / "attack_methods.py").is_file():
        raise UserError(
            f"--{flag}={folder or ''} is not a checkout of FeatureScatter; get one by `git clone "
            "https://github.com/Haichao-Zhang/FeatureScatter FOLDER && git -C FOLDER checkout "
            "77e9140`"
        )
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise UserError(
            "PyTorch is not installed; `pip install -r requirements-peers.txt`"
        ) from None
    # Gone from PyTorch since 1.9; their code sets the gradient to zero itself right after.
    sys.modules["torch.autograd.gradcheck"].zero_gradients = lambda _: None  # type: ignore[attr-defined]
    with mock.patch.object(sys, "path", [folder, *sys.path]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch, importlib.import_module("attack_methods")


@contextlib.contextmanager
def on_cpu(torch: Any) -> Iterator[None]:
    """Lets their code, which names CUDA, run on the CPU."""
    to = torch.Tensor.to

    def to_cpu(tensor: Any, *arguments: Any, **options: Any) -> Any:
        return tensor if arguments == ("cuda",) else to(tensor, *arguments, **options)

    with (
        mock.patch.object(torch.Tensor, "to", to_cpu),
        mock.patch.object(torch.cuda, "FloatTensor", torch.FloatTensor),
    ):
        yield


@contextlib.contextmanager
def _recorded(torch: Any, code: Any, noise: Any) -> Iterator[dict[str, mock.Mock]]:
    """Their code on the CPU with this start noise; yields its calls by name."""
    with (
        on_cpu(torch),
        mock.patch.object(torch.Tensor, "uniform_", lambda tensor, *_: tensor.copy_(noise)),
        mock.patch.object(torch, "sign", wraps=torch.sign) as sign,
        mock.patch.object(torch, "clamp", wraps=torch.clamp) as clamp,
        mock.patch.object(
            code.ot, "sinkhorn_loss_joint_IPOT", wraps=code.ot.sinkhorn_loss_joint_IPOT
        ) as transport,
        mock.patch.object(
            code.utils, "label_smoothing", wraps=code.utils.label_smoothing
        ) as smoothing,
    ):
        yield {"sign": sign, "clamp": clamp, "transport": transport, "smoothing": smoothing}


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("reference", None, "Checkout of FeatureScatter.", flag_values=values)
    flags.DEFINE_integer("classifier_depth", 16, "Depth of the Wide ResNet.", flag_values=values)
    flags.DEFINE_integer("classifier_width", 2, "Width of the Wide ResNet.", flag_values=values)
    flags.DEFINE_integer("batch_size", 60, "How many digits are in the batch.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "Seed of the weights and of the noise.", flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
