"""Figures 3 and 4 of the FS-GAN paper, drawn from trained runs on one batch of held-out images.

    python tools/figures.py --run_dir=runs/cifar10_fs_gan [--standard_run_dir=runs/cifar10_standard]

Figure 3: t-SNE of the logits that the run's classifier gives to the adversarial images of several
passes over the same batch, by FS-GAN's generator and by Feature-Scatter's sign step, in one
embedding. Figure 4: accuracy, clean and on the images of both adversaries, of a classifier of
`--method=standard`; it is drawn where `--standard_run_dir` names one. `figures.json` has the
numbers behind both pictures.

Source: the captions of both figures and section IV-B of the paper. What they leave open, and how it
is read here:

1. A pass of FS-GAN draws the start noise and z anew, as a training step does; a pass of
   Feature-Scatter its start noise. What z alone changes has a panel of its own.
2. Figure 3 is coloured by pass, and all panels share one embedding, so that they compare.
3. Figure 4 is over passes: the accuracy of each, and the share of images right in all so far.
4. Both adversaries follow the gradient of the classifier they attack; the generator keeps the
   weights it was trained with. Everything is computed in float32, networks in inference mode.
5. Images are the first of the validation slice, never of the test set.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import UserError
from fsgan_tf.runs.configuration import TrainingConfiguration

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from fsgan_tf.data.loading import ImageDataset, Split
    from fsgan_tf.methods.base import TrainingMethod
    from fsgan_tf.runs.restored import RestoredClassifier
    from fsgan_tf.threat_model import ThreatModel

_PANELS = {
    "fs_gan": "FS-GAN, new start noise and z",
    "fs_gan_z_alone": "FS-GAN, new z alone",
    "feature_scatter": "Feature-Scatter, new start noise",
}
_LINES = {"fs_gan": "FS-GAN", "feature_scatter": "Feature-Scatter"}
_DPI = 150
_FONT_SIZE = 13


@dataclasses.dataclass(frozen=True)
class _Passes:
    """Several attacks on one batch.

    Attributes:
      perturbations: float32 `[passes, b, h, w, c]`, pixel units.
      logits: float32 `[passes, b, K]`, of the adversarial images.
    """

    perturbations: np.ndarray
    logits: np.ndarray


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Attacks, draws and writes; prints the numbers and the paths."""
    del words
    run_dir, standard_run_dir = flag_values.run_dir, flag_values.standard_run_dir
    if run_dir is None:
        raise UserError("--run_dir is missing: name the folder of a run of --method=fs_gan")
    quiet.start_tensorflow()
    from fsgan_tf.files import make_folder

    robust = _restore(run_dir, "fs_gan")
    standard = _restore(standard_run_dir, "standard") if standard_run_dir else None
    dataset = _load(robust.settings, flag_values.data_dir)
    _require_fit(run_dir, robust, dataset)
    if standard:
        _require_fit(standard_run_dir, standard, dataset)
    size = flag_values.batch_size or robust.settings.training.batch_size
    batch = _batch(dataset.validation, size)
    output_dir = Path(flag_values.output_dir or Path(run_dir) / "figures")
    make_folder(output_dir, "output_dir")

    passes, seed = flag_values.passes, flag_values.seed
    print(f"{passes} passes over {len(batch)} validation images of {dataset.name}", flush=True)
    generator_weights = _generator_weights(run_dir, robust)
    numbers: dict[str, Any] = {
        "dataset": dataset.name,
        "split": "validation",
        "num_examples": len(batch),
        "passes": passes,
        "seed": seed,
        "epsilon": robust.settings.training.epsilon,
    }

    def attack(classifier: keras.Model) -> tuple[np.ndarray, dict[str, _Passes]]:
        adversaries = _adversaries(classifier, robust.settings, generator_weights, seed)
        return _logits(classifier, batch), {
            name: _attack(method, batch, passes, seed) for name, method in adversaries.items()
        }

    clean_logits, attacked = attack(robust.model)
    diversity = {name: _diversity(clean_logits, one) for name, one in attacked.items()}
    numbers["figure_3"] = {"run_dir": run_dir, **diversity}
    _write(output_dir / "figure_3.png", _png(_figure_3(clean_logits, attacked, diversity, seed)))
    if standard:
        clean_logits, attacked = attack(standard.model)
        numbers["figure_4"] = {
            "run_dir": standard_run_dir,
            "clean_accuracy": float(_correct(clean_logits, batch.labels).mean()),
            **{name: _accuracies(attacked[name], batch.labels) for name in _LINES},
        }
        _write(output_dir / "figure_4.png", _png(_figure_4(numbers["figure_4"], len(batch))))
    else:
        print("no Figure 4: it needs --standard_run_dir, a run of --method=standard")
    _write(output_dir / "figures.json", (json.dumps(numbers, indent=1) + "\n").encode())
    print(_report(numbers))


def _restore(run_dir: str, method: str) -> RestoredClassifier:
    """The classifier of a run, known to be of this method."""
    from fsgan_tf.runs.restored import restore_classifier

    restored = restore_classifier(run_dir)
    if restored.settings.training.method != method:
        raise UserError(
            f"{run_dir} is a run of --method={restored.settings.training.method}; a run of "
            f"--method={method} is needed here"
        )
    return restored


def _load(configuration: TrainingConfiguration, data_dir: str | None) -> ImageDataset:
    from fsgan_tf.data import loading

    options = configuration.data_options()
    if data_dir:
        options["data_dir"] = data_dir
    data = configuration.data
    return loading.load(data.dataset, validation_examples=data.validation_examples, **options)


def _require_fit(run_dir: str, restored: RestoredClassifier, dataset: ImageDataset) -> None:
    image_shape = restored.progress.image_shape
    if (restored.class_names, image_shape) != (dataset.class_names, dataset.image_shape):
        raise UserError(
            f"{run_dir} was trained on images {image_shape} of the classes "
            f"{', '.join(restored.class_names)}; {dataset.name} has {dataset.image_shape} and "
            f"{', '.join(dataset.class_names)}"
        )


def _batch(validation: Split, batch_size: int) -> Split:
    if batch_size > len(validation):
        raise UserError(
            f"a batch of {batch_size} is larger than the validation slice of {len(validation)} "
            f"images; give --batch_size={len(validation)} or less"
        )
    return validation.first(batch_size)


def _generator_weights(run_dir: str, restored: RestoredClassifier) -> list[np.ndarray]:
    """The generator's weights in the run's newest checkpoint."""
    from fsgan_tf.runs.directory import RunDirectory
    from fsgan_tf.training.build import build_method

    values = restored.settings
    # The checkpoint fits in any precision but float16, whose optimizers keep a loss scale.
    if values.training.precision != "mixed_float16":
        exact = dataclasses.replace(values.training, precision="float32")
        values = dataclasses.replace(values, training=exact)
    method = build_method(values, len(restored.class_names), restored.progress.image_shape)
    RunDirectory(run_dir).checkpoints.restore(method)
    return method.networks["generator"].get_weights()


def _adversaries(
    classifier: keras.Model,
    values: TrainingConfiguration,
    generator_weights: list[np.ndarray],
    seed: int,
) -> dict[str, TrainingMethod]:
    """Both methods' adversaries against this classifier; FS-GAN's also with its start held."""
    from fsgan_tf import methods
    from fsgan_tf.threat_model import ThreatModel

    def build(name: str, threat_model: ThreatModel) -> TrainingMethod:
        of_name = TrainingConfiguration.from_texts({**values.texts(), "method": name})
        method = methods.get(name)(
            classifier,
            threat_model=threat_model,
            seed=seed,
            **dataclasses.asdict(of_name.method),
        )
        if name == "fs_gan":
            method.networks["generator"].set_weights(generator_weights)
        return method

    threat_model = ThreatModel(values.training.epsilon)
    return {
        "fs_gan": build("fs_gan", threat_model),
        "fs_gan_z_alone": build("fs_gan", _held_start(values.training.epsilon, seed)),
        "feature_scatter": build("feature_scatter", threat_model),
    }


def _held_start(epsilon: float, seed: int) -> ThreatModel:
    """A threat model whose random starts are always the same."""
    import tensorflow as tf

    from fsgan_tf.threat_model import ThreatModel

    start_seed = tf.constant([seed, 0])

    class HeldStart(ThreatModel):
        def random_perturbation(self, shape: Any, seed: tf.Tensor) -> tf.Tensor:
            del seed
            return super().random_perturbation(shape, start_seed)

    return HeldStart(epsilon)


def _attack(method: TrainingMethod, batch: Split, passes: int, seed: int) -> _Passes:
    import tensorflow as tf

    images, labels = _pixels(batch), tf.constant(batch.labels)
    adversarial = [
        method.perturb(images, labels, tf.constant([seed, index])) for index in range(passes)
    ]
    return _Passes(
        perturbations=np.stack([(one - images).numpy() for one in adversarial]),
        logits=np.stack([method.classifier(one, training=False).numpy() for one in adversarial]),
    )


def _logits(classifier: keras.Model, batch: Split) -> np.ndarray:
    return classifier(_pixels(batch), training=False).numpy()


def _pixels(batch: Split) -> Any:
    import tensorflow as tf

    return tf.constant(batch.images, tf.float32) / 255.0


def _diversity(clean_logits: np.ndarray, passes: _Passes) -> dict[str, float]:
    """How far an image's passes are from each other, and from the clean image; l2 means."""
    return {
        "logit_distance_between_passes": _between(passes.logits),
        "perturbation_distance_between_passes": _between(passes.perturbations),
        "logit_distance_to_clean": float(_l2(passes.logits - clean_logits).mean()),
        "perturbation_norm": float(_l2(passes.perturbations).mean()),
    }


def _between(passes: np.ndarray) -> float:
    """Mean l2 distance, over images and pairs of passes, of `[passes, b, ...]` values."""
    pairs = itertools.combinations(passes, 2)
    return float(np.mean([_l2((one - other)[np.newaxis]).mean() for one, other in pairs]))


def _l2(values: np.ndarray) -> np.ndarray:
    """l2 norms `[passes, b]` of `[passes, b, ...]` values."""
    return np.linalg.norm(values.reshape(*values.shape[:2], -1), axis=-1)


def _accuracies(passes: _Passes, labels: np.ndarray) -> dict[str, list[float]]:
    correct = _correct(passes.logits, labels)
    return {
        "accuracy_of_pass": correct.mean(axis=1).tolist(),
        "accuracy_in_all_passes_so_far": np.logical_and.accumulate(correct).mean(axis=1).tolist(),
    }


def _correct(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether `[..., b, K]` logits are right, bool `[..., b]`."""
    return logits.argmax(axis=-1) == labels


def _figure_3(
    clean_logits: np.ndarray,
    attacked: dict[str, _Passes],
    diversity: dict[str, dict[str, float]],
    seed: int,
) -> Figure:
    """A panel an adversary, a colour a pass; every panel shows the clean images too."""
    from matplotlib.figure import Figure

    clean, panels = _embed(clean_logits, [one.logits for one in attacked.values()], seed)
    figure = Figure(figsize=(16.5, 6.6), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharex=True, sharey=True)
    for axes, name, points in zip(all_axes, attacked, panels, strict=True):
        for index, one in enumerate(points):
            axes.scatter(
                *one.T,
                s=30,
                color=f"C{index % 10}",
                edgecolors="white",
                linewidths=0.4,
                label=f"pass {index + 1}",
            )
        axes.scatter(*clean.T, s=22, c="black", marker="x", linewidths=1.0, label="clean")
        distance = diversity[name]["logit_distance_between_passes"]
        axes.set_title(
            f"{_PANELS[name]}\nmean l2 distance of logits between passes {distance:.2g}",
            fontsize=_FONT_SIZE,
        )
        axes.set(xticks=[], yticks=[])
    figure.suptitle(
        f"t-SNE of the logits of {len(clean_logits)} images, attacked in several passes",
        fontsize=_FONT_SIZE + 2,
    )
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=11, fontsize=_FONT_SIZE, markerscale=1.5
    )
    return figure


def _embed(
    clean: np.ndarray, panels: list[np.ndarray], seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """One t-SNE of `[b, K]` and several `[passes, b, K]` logits: `[b, 2]`, `[passes, b, 2]`."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    num_passes, num_examples, num_classes = panels[0].shape
    logits = np.concatenate([clean, *(panel.reshape(-1, num_classes) for panel in panels)])
    # As many neighbours as an image has passes: more would shrink its passes to one dot.
    tsne = TSNE(perplexity=num_passes, init="pca", random_state=seed)
    # Its threads wait for each other more than they work, on a busy machine for minutes.
    with threadpool_limits(1):
        points = tsne.fit_transform(logits)
    shape = (len(panels), num_passes, num_examples, 2)
    return points[:num_examples], list(points[num_examples:].reshape(shape))


def _figure_4(numbers: dict[str, Any], num_examples: int) -> Figure:
    """Accuracy over passes: of each alone, and in all so far."""
    from matplotlib.figure import Figure

    panels = {
        "accuracy_of_pass": "in this pass",
        "accuracy_in_all_passes_so_far": "in this pass and all before it",
    }
    figure = Figure(figsize=(11, 5), layout="constrained")
    all_axes = figure.subplots(1, 2, sharey=True)
    for axes, (key, title) in zip(all_axes, panels.items(), strict=True):
        axes.axhline(numbers["clean_accuracy"], color="black", linestyle="--", label="clean")
        for name, label in _LINES.items():
            accuracies = numbers[name][key]
            axes.plot(range(1, len(accuracies) + 1), accuracies, "o-", label=label)
        axes.set_title(f"right {title}", fontsize=_FONT_SIZE)
        axes.set_xlabel("pass", fontsize=_FONT_SIZE)
        axes.set(ylim=(0, 1.05), xticks=range(1, len(accuracies) + 1))
        axes.tick_params(labelsize=_FONT_SIZE - 2)
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel("share of images", fontsize=_FONT_SIZE)
    figure.suptitle(
        f"A standard classifier on {num_examples} images, under both adversaries",
        fontsize=_FONT_SIZE + 2,
    )
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=_FONT_SIZE)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    from fsgan_tf.files import write_atomically

    write_atomically(path, content)
    print(f"written: {path}")


def _report(numbers: dict[str, Any]) -> str:
    lines = ["Figure 3, mean l2 distance between passes:   logits  perturbations"]
    for name, title in _PANELS.items():
        one = numbers["figure_3"][name]
        lines.append(
            f"  {title:40}{one['logit_distance_between_passes']:>9.4f}"
            f"{one['perturbation_distance_between_passes']:>15.4f}"
        )
    if "figure_4" in numbers:
        clean_accuracy = numbers["figure_4"]["clean_accuracy"]
        lines.append(f"Figure 4, accuracies; clean {clean_accuracy:.1%}:   mean pass  all passes")
        for name, title in _LINES.items():
            one = numbers["figure_4"][name]
            lines.append(
                f"  {title:36}{np.mean(one['accuracy_of_pass']):>13.1%}"
                f"{one['accuracy_in_all_passes_so_far'][-1]:>12.1%}"
            )
    return "\n".join(lines)


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run_dir", None, "Run of --method=fs_gan.", flag_values=values)
    flags.DEFINE_string(
        "standard_run_dir",
        None,
        "Run of --method=standard on the same data, for Figure 4.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "data_dir", None, "Folder of TFDS data; the run's by default.", flag_values=values
    )
    flags.DEFINE_string(
        "output_dir", None, "Where the figures go; RUN_DIR/figures by default.", flag_values=values
    )
    flags.DEFINE_integer(
        "batch_size",
        None,
        "How many images; the run's batch size by default.",
        2,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "passes",
        8,
        "How many passes over the batch, each of a colour of its own.",
        2,
        10,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of the start noise, of the latent vectors and of t-SNE.",
        0,
        flag_values=values,
    )
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
