"""Our attacks beside other people's, on the same classifier and images.

    pip install -r requirements-peers.txt
    git clone https://github.com/fra31/auto-attack FOLDER
    python tools/compare_attacks.py --run_dir=RUN --data_dir=DATA --auto_attack=FOLDER
    python tools/compare_attacks.py ... --norm=l2 --epsilon=0.5 --parts=foolbox,auto_attack

`foolbox` and `art` attack RUN/saved_model with PGD-20 and with the margin attack C&W-20, through
their own PGD loops. `auto_attack` is the authors' PyTorch code, version standard, on the same
weights in PyTorch, once both networks' logits agree. Ours is `python -m fsgan_tf.evaluate`. Every
attack of a peer is kept in OUTPUT_DIR once it is done: the same command resumes after an
interruption. Prints the table and writes it to OUTPUT_DIR/table.md; ends with exit code 1 where an
accuracy differs by more than it may (docs/fidelity.md). In l2 and l1 Foolbox's PGD takes our step
sizes; in l1 it is its `SparseL1DescentAttack`, and ART is not compared with.
"""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import experiments
import numpy as np
from absl import flags
from compare_feature_scatter import channels_first, outputs_first

from fsgan_tf import norms
from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import RunError, UserError

if TYPE_CHECKING:
    import tensorflow as tf

    from fsgan_tf.runs.restored import RestoredClassifier

# Which images an attack fools, bool `[m]`, of float32 `[m, h, w, c]` and int32 `[m]`.
Attack = Callable[[np.ndarray, np.ndarray], np.ndarray]

_PGD_STEPS = 20
_CONFIDENCE = 50.0
# Of the logits of the two networks; rounding leaves about a hundredth of it.
_SAME_LOGITS = 1e-4
# Of the feasibility of a peer's image.
_TOLERANCE = 1e-6
_AUTO_ATTACK_NAMES = {
    "apgd-ce": "apgd_ce",
    "apgd-t": "apgd_t",
    "fab-t": "fab_t",
    "square": "square",
}


@dataclasses.dataclass(frozen=True)
class Task:
    """What is attacked.

    Attributes:
      restored: the run's classifier.
      saved_model: folder of its SavedModel.
      images: float32 `[n, h, w, c]` in [0, 1].
      labels: int32 `[n]`.
      epsilon: radius of the ball, in the norm's unit.
      batch_size: images attacked together.
      seed: of the random starts.
      auto_attack: clone of fra31/auto-attack; None where it is not compared with.
      norm: that measures perturbations.
    """

    restored: "RestoredClassifier"
    saved_model: Path
    images: np.ndarray
    labels: np.ndarray
    epsilon: float
    batch_size: int
    seed: int
    auto_attack: str | None
    norm: str = "linf"

    @property
    def step_size(self) -> float:
        """Of PGD-20, as ours has it by default."""
        from fsgan_tf.attacks.parts.settings import default_step

        return default_step(self.norm, self.epsilon, _PGD_STEPS)


@dataclasses.dataclass(frozen=True)
class Part:
    """A peer and how ours is compared with it.

    Attributes:
      packages: that must be installed, as importlib and as pip name them.
      attacks: the peer's, by our names, for a task.
      ours: flags of our evaluation.
      cumulative: an attack sees only what withstood those before it, on both sides.
      most: largest difference of the accuracies that are judged, in points.
      norms: in which it is compared with.
    """

    packages: dict[str, str]
    attacks: Callable[[Task], dict[str, Attack]]
    ours: tuple[str, ...]
    cumulative: bool
    most: float
    norms: tuple[str, ...] = norms.NAMES


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Runs what is not there yet, prints the table after every part and judges it."""
    del words
    parts = {name: _PARTS[name] for name in flag_values.parts if name in _PARTS}
    if not parts or len(parts) != len(flag_values.parts):
        raise UserError(f"--parts={','.join(flag_values.parts)}: there are {', '.join(_PARTS)}")
    if not flag_values.run_dir:
        raise UserError("--run_dir is missing: name the run whose classifier is attacked")
    for name, part in parts.items():
        _require_installed(name, part, flag_values.auto_attack)
        if flag_values.norm not in part.norms:
            raise UserError(f"--parts={name} is compared in {', '.join(part.norms)} alone")
    if flag_values.norm != "linf" and not flag_values.epsilon:
        raise UserError(f"--norm={flag_values.norm} needs --epsilon in its own unit")
    quiet.start_tensorflow()
    from fsgan_tf.files import make_folder, write_atomically

    output_dir = Path(flag_values.output_dir or Path(flag_values.run_dir) / "compare_attacks")
    task = _task(flag_values)
    make_folder(output_dir, "output_dir")
    rows: list[list[str]] = []
    failed = []
    for name, part in parts.items():
        theirs = _measure(task, part, output_dir / f"{name}{_suffix(task.norm)}.json")
        ours = _ours(flag_values, part, output_dir, task.restored.weights_sha256)
        part_rows, difference = _compare(name, part, ours, theirs)
        rows += part_rows
        # Rounding aside: 0.5 points of 1,000 images are 5 images.
        if difference > part.most + 1e-9:
            failed.append(f"{name} by {difference:.1f} points, at most {part.most}")
        text = experiments.table(_COLUMNS, rows)
        write_atomically(output_dir / f"table{_suffix(task.norm)}.md", f"{text}\n".encode())
        print(f"\n{text}\n", flush=True)
    if failed:
        raise RunError(f"robust accuracies differ: {'; '.join(failed)}")


_COLUMNS = ("peer", "attack", "ours", "theirs", "our seconds", "their seconds")


def _compare(
    name: str, part: Part, ours: dict[str, Any], theirs: dict[str, dict[str, Any]]
) -> tuple[list[list[str]], float]:
    """A row an attack, and the largest difference of the accuracies that are judged, in points.

    Where attacks follow one another, that is the difference of what the last one leaves.
    """
    versions = " ".join(f"{pip} {_version(pip)}" for pip in part.packages.values())
    rows, differences = [], []
    for attack in ours["attacks"]:
        theirs_of_it = theirs[attack["name"]]
        accuracies = attack["accuracy"], theirs_of_it["accuracy"]
        seconds = attack["seconds"], theirs_of_it["seconds"]
        differences.append(100 * abs(accuracies[0] - accuracies[1]))
        rows.append(
            [
                f"{name} ({versions})",
                attack["name"],
                *(f"{accuracy:.1%}" for accuracy in accuracies),
                *(f"{value:.0f}" for value in seconds),
            ]
        )
    return rows, differences[-1] if part.cumulative else max(differences)


def _task(flag_values: flags.FlagValues) -> Task:
    from fsgan_tf.data import loading
    from fsgan_tf.runs.restored import restore_classifier

    restored = restore_classifier(flag_values.run_dir)
    saved_model = Path(flag_values.run_dir) / "saved_model"
    if not saved_model.is_dir():
        raise UserError(
            f"{saved_model} is missing; python -m fsgan_tf.export --run_dir={flag_values.run_dir}"
        )
    values = restored.settings
    options = values.data_options()
    if flag_values.data_dir:
        options["data_dir"] = flag_values.data_dir
    test, _ = loading.load_test(values.data.dataset, **options)
    split = test.first(flag_values.num_examples)
    return Task(
        restored,
        saved_model,
        split.images.astype(np.float32) / np.float32(255),
        split.labels,
        flag_values.epsilon or values.training.epsilon,
        flag_values.batch_size,
        flag_values.seed,
        flag_values.auto_attack,
        flag_values.norm,
    )


def _measure(task: Task, part: Part, file: Path) -> dict[str, dict[str, Any]]:
    """Runs the peer's attacks that are not in `file` yet; the content by attack."""
    from fsgan_tf.files import write_atomically

    inputs = {
        "classifier_sha256": task.restored.weights_sha256,
        "num_examples": len(task.labels),
        "epsilon": task.epsilon,
        **({} if task.norm == "linf" else {"norm": task.norm}),
        "seed": task.seed,
        "versions": {pip: _version(pip) for pip in part.packages.values()},
    }
    kept = json.loads(file.read_text()) if file.is_file() else {}
    done = kept["attacks"] if kept.get("inputs") == inputs else {}
    standing = _answers(task, task.images) == task.labels
    # Made when first needed: making them may compile or compare networks.
    attacks: dict[str, Attack] = {}
    for name in part.ours[0].removeprefix("--attacks=").split(","):
        if name not in done:
            attacks = attacks or part.attacks(task)
            print(f"{file.stem}: {name} on {standing.sum()} images", file=sys.stderr, flush=True)
            candidates = np.flatnonzero(standing)
            start = time.monotonic()
            fooled = attacks[name](task.images[candidates], task.labels[candidates])
            withstood = candidates[~fooled]
            done[name] = {
                "accuracy": len(withstood) / len(task.labels),
                "seconds": time.monotonic() - start,
                "withstood": withstood.tolist(),
            }
            content = json.dumps({"inputs": inputs, "attacks": done}, indent=1)
            write_atomically(file, f"{content}\n".encode())
        if part.cumulative:
            standing = np.isin(np.arange(len(task.labels)), done[name]["withstood"])
    return done


def _ours(
    flag_values: flags.FlagValues, part: Part, output_dir: Path, classifier_sha256: str
) -> dict[str, Any]:
    """The content of our results.json; the evaluation resumes where it stopped, or is there."""
    norm, epsilon = flag_values.norm, flag_values.epsilon
    kind = "one_after_the_other" if part.cumulative else "standalone"
    folder = output_dir / f"ours_{kind}{_suffix(norm)}"
    file = folder / "results.json"
    wanted = {"num_examples": flag_values.num_examples, "seed": flag_values.seed}
    ball = {"threat_model": {"norm": norm, "epsilon": epsilon}} if epsilon else {}
    results = json.loads(file.read_text()) if file.is_file() else {}
    # A run that was trained on is another classifier.
    asked = {**wanted, **ball, "classifier_sha256": classifier_sha256}
    if all(results.get(name) == value for name, value in asked.items()):
        return results
    experiments.run_module(
        "fsgan_tf.evaluate",
        [
            f"--run_dir={flag_values.run_dir}",
            *([f"--data_dir={flag_values.data_dir}"] if flag_values.data_dir else []),
            *(f"--{name}={value}" for name, value in wanted.items()),
            *([f"--norm={norm}", f"--epsilon={epsilon}"] if epsilon else []),
            f"--batch_size={flag_values.batch_size}",
            f"--output_dir={folder}",
            *part.ours,
        ],
    )
    return json.loads(file.read_text())


def _suffix(norm: str) -> str:
    """Of what is kept of a norm; l_inf has none, which is older than the others."""
    return "" if norm == "linf" else f"_{norm}"


def _foolbox(task: Task) -> dict[str, Attack]:
    """Foolbox's PGD of the norm; the margin by overriding its loss, as it provides for."""
    import tensorflow as tf

    foolbox = importlib.import_module("foolbox")
    carlini_wagner = importlib.import_module("foolbox.attacks.carlini_wagner")

    names = {"linf": "LinfPGD", "l2": "L2PGD", "l1": "SparseL1DescentAttack"}
    pgd = getattr(foolbox.attacks, names[task.norm])

    class MarginPGD(pgd):  # type: ignore[misc, valid-type]
        """Climbs minus the margin, with the other class that its own C&W attack takes."""

        def get_loss_fn(self, model: Any, labels: Any) -> Callable[[Any], Any]:
            def loss(images: Any) -> Any:
                logits = model(images)
                rows = range(len(labels))
                others = carlini_wagner.best_other_classes(logits, labels)
                lead = logits[rows, labels] - logits[rows, others]
                return -(lead + _CONFIDENCE).maximum(0).sum()

            return loss

    options = {"abs_stepsize": task.step_size, "steps": _PGD_STEPS, "random_start": True}
    model = foolbox.TensorFlowModel(
        _saved_logits(task), bounds=(0, 1), device=tf.constant(0.0).device
    )

    def attack(attacker: Any) -> Attack:
        def adversarial(images: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
            tf.random.set_seed(task.seed)
            for start in range(0, len(labels), task.batch_size):
                rows = slice(start, start + task.batch_size)
                # int64: it compares them with an argmax, and mixing types breaks on NumPy 2.
                pixels, classes = tf.constant(images[rows]), tf.constant(labels[rows], tf.int64)
                _, clipped, _ = attacker(model, pixels, classes, epsilons=task.epsilon)
                yield clipped.numpy()

        return lambda images, labels: _fooled(
            task, np.concatenate(list(adversarial(images, labels))), images, labels
        )

    return {
        "pgd20": attack(pgd(**options)),
        "cw20": attack(MarginPGD(**options)),
    }


def _art(task: Task) -> dict[str, Attack]:
    """ART's PGD for TensorFlow 2; the margin as the classifier's loss."""
    import keras
    import tensorflow as tf

    evasion = importlib.import_module("art.attacks.evasion")
    estimators = importlib.import_module("art.estimators.classification")
    logits_fn = _saved_logits(task)

    def margin(one_hot: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        true = tf.reduce_sum(one_hot * logits, axis=1)
        others = tf.reduce_max(logits - one_hot * 1e6, axis=1)
        return -tf.reduce_sum(tf.nn.relu(true - others + _CONFIDENCE))

    def attack(loss: Any) -> Attack:
        classifier = estimators.TensorFlowV2Classifier(
            lambda images, training: logits_fn(images),
            nb_classes=len(task.restored.class_names),
            input_shape=task.images.shape[1:],
            loss_object=loss,
            clip_values=(0, 1),
        )
        attacker = evasion.ProjectedGradientDescentTensorFlowV2(
            classifier,
            eps=task.epsilon,
            eps_step=task.epsilon / 4,
            max_iter=_PGD_STEPS,
            num_random_init=1,
            batch_size=task.batch_size,
            verbose=False,
        )

        def fooled(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            np.random.seed(task.seed)  # noqa: NPY002 (the generator that ART draws from)
            return _fooled(task, attacker.generate(images, labels), images, labels)

        return fooled

    return {
        "pgd20": attack(keras.losses.CategoricalCrossentropy(from_logits=True)),
        "cw20": attack(margin),
    }


def _auto_attack(task: Task) -> dict[str, Attack]:
    """The authors' standard version, an attack at a time on what is left, as theirs runs them."""
    torch = importlib.import_module("torch")
    logits_fn = torch_logits_fn(torch, task.restored.model)
    _require_same_logits(task, torch, logits_fn)
    with mock.patch.object(sys, "path", [str(task.auto_attack), *sys.path]):
        code = importlib.import_module("autoattack")
    adversary = code.AutoAttack(
        logits_fn,
        norm=task.norm.capitalize(),
        eps=task.epsilon,
        seed=task.seed,
        version="standard",
        device="cpu",
        verbose=False,
    )

    def attack(name: str) -> Attack:
        def fooled(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            if not len(labels):
                return np.zeros(0, bool)
            adversary.attacks_to_run = [name]
            _, answers = adversary.run_standard_evaluation(
                torch.tensor(channels_first(images)),
                torch.tensor(labels).long(),
                bs=task.batch_size,
                return_labels=True,
            )
            return answers.numpy() != labels

        return fooled

    return {name.replace("-", "_"): attack(name) for name in adversary.attacks_to_run}


def torch_logits_fn(torch: Any, model: Any) -> Callable[[Any], Any]:
    """The classifier of `networks.wide_resnet` in PyTorch, in inference mode.

    Args:
      torch: the module.
      model: the Keras model; its weights are copied.

    Returns:
      float32 `[b, c, h, w]` images in [0, 1] to float32 `[b, K]` logits.
    """
    functional = torch.nn.functional
    weights = {
        variable.path: torch.tensor(outputs_first(variable.numpy())) for variable in model.variables
    }
    depth = int(model.name.split("_")[-2])

    def convolved(x: Any, name: str, stride: int = 1) -> Any:
        kernel = weights[f"{name}/kernel"]
        return functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def activated(x: Any, name: str) -> Any:
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        arguments = [weights[f"{name}_bn/{variable}"] for variable in names]
        return functional.relu(functional.batch_norm(x, *arguments, training=False, eps=1e-5))

    def block(x: Any, name: str, stride: int) -> Any:
        inputs = activated(x, f"{name}_pre")
        y = convolved(inputs, f"{name}_conv1", stride)
        y = convolved(activated(y, f"{name}_mid"), f"{name}_conv2")
        if f"{name}_shortcut/kernel" in weights:
            x = convolved(inputs, f"{name}_shortcut", stride)
        return x + y

    def logits(images: Any) -> Any:
        # Channels last in memory, which convolutions on a CPU are faster with.
        images = images.contiguous(memory_format=torch.channels_last)
        x = convolved(2 * images - 1, "stem")
        for group in (1, 2, 3):
            for index in range(1, (depth - 4) // 6 + 1):
                x = block(x, f"group{group}_block{index}", 2 if group > 1 and index == 1 else 1)
        features = activated(x, "final").mean(dim=(2, 3))
        return functional.linear(features, weights["logits/kernel"], weights["logits/bias"])

    return logits


def _require_same_logits(task: Task, torch: Any, logits_fn: Callable[[Any], Any]) -> None:
    difference = 0.0
    for start in range(0, len(task.images), task.batch_size):
        images = task.images[start : start + task.batch_size]
        ours = np.asarray(task.restored.model(images, training=False))
        with torch.no_grad():
            theirs = logits_fn(torch.tensor(channels_first(images))).numpy()
        difference = max(difference, float(np.abs(ours - theirs).max()))
    if not difference <= _SAME_LOGITS:
        raise RunError(
            f"the logits of the two networks differ by {difference:.1e}, at most {_SAME_LOGITS}: "
            "they are not the same classifier"
        )
    print(f"logits in PyTorch differ by at most {difference:.1e}", file=sys.stderr, flush=True)


def _saved_logits(task: Task) -> Callable[["tf.Tensor"], "tf.Tensor"]:
    """The exported SavedModel's, as a user of another library would call it."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(task.saved_model))
    return lambda images: loaded.signatures["serving_default"](image=images)["logits"]


def _fooled(
    task: Task, adversarial: np.ndarray, images: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Which images lie in the ball and the pixel range and are misclassified."""
    changes = (adversarial - images).reshape(len(images), -1).astype(np.float64)
    distance = np.linalg.norm(changes, {"linf": np.inf, "l2": 2, "l1": 1}[task.norm], axis=1)
    pixels = adversarial.reshape(len(images), -1)
    in_range = (pixels >= 0).all(axis=1) & (pixels <= 1).all(axis=1)
    # Of sums over all values a peer's float32 rounds more.
    tolerance = _TOLERANCE if task.norm == "linf" else _TOLERANCE * max(1, 10 * task.epsilon)
    feasible = (distance <= task.epsilon + tolerance) & in_range
    return feasible & (_answers(task, adversarial) != labels)


def _answers(task: Task, images: np.ndarray) -> np.ndarray:
    """The classes that the classifier names, `[m]`."""
    answers = np.zeros(len(images), np.int64)
    for start in range(0, len(images), task.batch_size):
        rows = slice(start, start + task.batch_size)
        answers[rows] = np.asarray(task.restored.model(images[rows], training=False)).argmax(axis=1)
    return answers


def _require_installed(name: str, part: Part, auto_attack: str | None) -> None:
    for module in part.packages:
        if importlib.util.find_spec(module) is None:
            raise UserError(f"--parts={name} needs {module}; pip install -r requirements-peers.txt")
    folder = Path(auto_attack or "")
    if name == "auto_attack" and not (folder / "autoattack" / "autoattack.py").is_file():
        raise UserError(
            f"--auto_attack={auto_attack or ''} is not a clone of its authors' code; get one by "
            "`git clone https://github.com/fra31/auto-attack FOLDER`, or leave it out of --parts"
        )


def _version(pip_name: str) -> str:
    return importlib.metadata.version(pip_name)


_STANDALONE = ("--attacks=pgd20,cw20", "--standalone")
_PARTS = {
    "foolbox": Part({"foolbox": "foolbox"}, _foolbox, _STANDALONE, False, 1.0),
    "art": Part(
        {"art": "adversarial-robustness-toolbox"}, _art, _STANDALONE, False, 1.0, ("linf",)
    ),
    "auto_attack": Part(
        {"torch": "torch"}, _auto_attack, ("--attacks=apgd_ce,apgd_t,fab_t,square",), True, 0.5
    ),
}


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run_dir", None, "Run whose classifier is attacked.", flag_values=values)
    flags.DEFINE_string("data_dir", None, "Folder of TFDS data.", flag_values=values)
    flags.DEFINE_string("auto_attack", None, "Clone of fra31/auto-attack.", flag_values=values)
    flags.DEFINE_list("parts", list(_PARTS), "Peers to compare with.", flag_values=values)
    flags.DEFINE_integer(
        "num_examples", 1000, "Attack the first N test images.", 1, flag_values=values
    )
    flags.DEFINE_enum(
        "norm", "linf", list(norms.NAMES), "That measures perturbations.", flag_values=values
    )
    flags.DEFINE_float(
        "epsilon", None, "Radius; that of the training by default.", flag_values=values
    )
    flags.DEFINE_integer("batch_size", 50, "Images attacked together.", 1, flag_values=values)
    flags.DEFINE_integer("seed", 0, "Seed of the random starts.", 0, flag_values=values)
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder for the results; RUN_DIR/compare_attacks by default.",
        flag_values=values,
    )
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
