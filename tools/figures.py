"""Figures 3 and 4 of the FS-GAN paper, drawn from trained runs.

    python tools/figures.py --run_dir=runs/cifar10_fs_gan [--frozen_run_dir=runs/cifar10_frozen]

Figure 3: t-SNE of the logits that the run's classifier gives to the adversarial images of several
passes over one batch, by FS-GAN's generator and by Feature-Scatter's sign step, in one embedding.
Figure 4: accuracy, clean and on the images of both adversaries, of a classifier that is not robust,
with 95% intervals. It is drawn where `--frozen_run_dir` names a run whose generator was trained
against such a classifier, which stayed as it was:

    python -m fsgan_tf.train --method=fs_gan --freeze_classifier --init_from=STANDARD_RUN ...

`figures.json` has the numbers behind both pictures.

Source: the captions of both figures and section IV-B of the paper. What they leave open, and how it
is read here:

1. A pass of FS-GAN draws the start noise and z anew, as a training step does; a pass of
   Feature-Scatter its start noise. What z alone changes has a panel of its own.
2. Figure 3 is coloured by pass, and all panels share one embedding, so that they compare.
3. Figure 4 is over passes: the accuracy of each, and the share of images right in all so far.
4. Both adversaries follow the gradient of the classifier they attack, as in training: FS-GAN's
   robust classifier normalises by the batch then, a frozen one by its moving averages. What is
   drawn are logits in inference mode. Everything is computed in float32.
5. Images are the first of the validation slice unless `--split` names others; Figure 4 takes
   `--num_examples` in whole batches.
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

    from fsgan_tf.data.split import Split
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
    run_dir, frozen_run_dir = flag_values.run_dir, flag_values.frozen_run_dir
    if run_dir is None:
        raise UserError("--run_dir is missing: name the folder of a run of --method=fs_gan")
    quiet.start_tensorflow()
    from experiments.run_images import load, restore_fs_gan, whole_batches

    from fsgan_tf.files import make_folder

    run = restore_fs_gan(run_dir)
    frozen = _restore_frozen(frozen_run_dir) if frozen_run_dir else None
    images = load(run, run_dir, flag_values.split, flag_values.data_dir)
    size = flag_values.batch_size or run.configuration.training.batch_size
    (batch,) = whole_batches(images, size, size)
    # Before the output folder is made, so that a wrong flag leaves nothing behind.
    many = []
    if frozen:
        many = whole_batches(
            load(frozen, frozen_run_dir, flag_values.split, flag_values.data_dir),
            flag_values.batch_size or frozen.configuration.training.batch_size,
            flag_values.num_examples,
        )
    output_dir = Path(flag_values.output_dir or Path(run_dir) / "figures")
    make_folder(output_dir, "output_dir")

    passes, seed = flag_values.passes, flag_values.seed
    print(f"{passes} passes over {len(batch)} images of {images.name}", flush=True)
    numbers: dict[str, Any] = {
        "dataset": run.configuration.data.dataset,
        "split": images.name,
        "num_examples": len(batch),
        "passes": passes,
        "seed": seed,
        "epsilon": run.configuration.training.epsilon,
    }
    adversaries = _adversaries(run_dir, run, seed)
    attacked = {
        name: _attack(method, [batch], passes, seed) for name, method in adversaries.items()
    }
    clean_logits = _logits(run.model, [batch])
    diversity = {name: _diversity(clean_logits, one) for name, one in attacked.items()}
    numbers["figure_3"] = {"run_dir": run_dir, **diversity}
    _write(output_dir / "figure_3.png", _png(_figure_3(clean_logits, attacked, diversity, seed)))
    if frozen:
        numbers["figure_4"] = _accuracies_over_passes(frozen_run_dir, frozen, many, passes, seed)
        _write(output_dir / "figure_4.png", _png(_figure_4(numbers["figure_4"])))
    else:
        print(
            "no Figure 4: it needs --frozen_run_dir, a run of --method=fs_gan "
            "--freeze_classifier --init_from=RUN with a RUN of --method=standard"
        )
    _write(output_dir / "figures.json", (json.dumps(numbers, indent=1) + "\n").encode())
    print(_report(numbers))


def _accuracies_over_passes(
    run_dir: str, frozen: RestoredClassifier, batches: list[Split], passes: int, seed: int
) -> dict[str, Any]:
    """What Figure 4 shows."""
    adversaries = _adversaries(run_dir, frozen, seed)
    labels = np.concatenate([batch.labels for batch in batches])
    clean = _correct(_logits(frozen.model, batches), labels)
    return {
        "run_dir": run_dir,
        "classifier": frozen.configuration.training.init_from,
        "num_examples": len(labels),
        "clean_accuracy": float(clean.mean()),
        **{
            name: _accuracies(_attack(adversaries[name], batches, passes, seed), labels)
            for name in _LINES
        },
    }


def _restore_frozen(run_dir: str) -> RestoredClassifier:
    """The classifier of a run of FS-GAN that left it as it was."""
    from experiments.run_images import restore_fs_gan

    restored = restore_fs_gan(run_dir)
    if not restored.configuration.values()["freeze_classifier"]:
        raise UserError(
            f"the classifier of {run_dir} learnt to withstand its generator; --frozen_run_dir "
            "needs a run of --freeze_classifier --init_from=RUN, with a RUN of --method=standard"
        )
    return restored


def _adversaries(
    run_dir: str, restored: RestoredClassifier, seed: int
) -> dict[str, TrainingMethod]:
    """Both methods' adversaries against the run's classifier; FS-GAN's also with its start held."""
    from experiments.run_images import generator_weights

    from fsgan_tf import methods
    from fsgan_tf.threat_model import ThreatModel

    configuration = restored.configuration
    weights = generator_weights(run_dir, restored)

    def build(name: str, threat_model: ThreatModel) -> TrainingMethod:
        texts = {**configuration.texts(), "method": name}
        if name == "feature_scatter":
            # Its own one step, however often the generator acts.
            del texts["attack_iterations"]
        of_name = TrainingConfiguration.from_texts(texts)
        method = methods.get(name)(
            restored.model,
            threat_model=threat_model,
            seed=seed,
            **dataclasses.asdict(of_name.method),
        )
        if name == "fs_gan":
            method.networks["generator"].set_weights(weights)
        return method

    threat_model = ThreatModel(configuration.training.epsilon)
    return {
        "fs_gan": build("fs_gan", threat_model),
        "fs_gan_z_alone": build("fs_gan", _held_start(configuration.training.epsilon, seed)),
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


def _attack(method: TrainingMethod, batches: list[Split], passes: int, seed: int) -> _Passes:
    """Several passes; each batch of a pass has seeds of its own."""
    import tensorflow as tf
    from experiments.run_images import pixels

    perturb = tf.function(method.perturb)
    perturbations, logits = [], []
    for index in range(passes):
        for number, batch in enumerate(batches):
            images, labels = pixels(batch), tf.constant(batch.labels)
            adversarial = perturb(images, labels, tf.constant([seed + number, index]))
            perturbations.append((adversarial - images).numpy())
            logits.append(method.classifier(adversarial, training=False).numpy())
    return _Passes(_by_pass(perturbations, passes), _by_pass(logits, passes))


def _by_pass(of_batches: list[np.ndarray], passes: int) -> np.ndarray:
    """`[passes, n, ...]` of every pass's batches, in order."""
    return np.concatenate(of_batches).reshape(passes, -1, *of_batches[0].shape[1:])


def _logits(classifier: keras.Model, batches: list[Split]) -> np.ndarray:
    from experiments.run_images import pixels

    return np.concatenate([classifier(pixels(one), training=False).numpy() for one in batches])


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


def _accuracies(passes: _Passes, labels: np.ndarray) -> dict[str, Any]:
    correct = _correct(passes.logits, labels)
    so_far = np.logical_and.accumulate(correct)
    return {
        "accuracy_of_pass": correct.mean(axis=1).tolist(),
        "interval_of_pass": [_interval(one) for one in correct],
        "accuracy_in_all_passes_so_far": so_far.mean(axis=1).tolist(),
        "interval_in_all_passes_so_far": [_interval(one) for one in so_far],
    }


def _interval(correct: np.ndarray) -> tuple[float, float]:
    """95% interval of the share that is right."""
    from fsgan_tf.results.intervals import wilson_interval

    return wilson_interval(int(correct.sum()), len(correct))


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


def _figure_4(numbers: dict[str, Any]) -> Figure:
    """Accuracy over passes: of each alone, and in all so far."""
    from matplotlib.figure import Figure

    panels = {"of_pass": "in this pass", "in_all_passes_so_far": "in this pass and all before it"}
    figure = Figure(figsize=(11, 5), layout="constrained")
    all_axes = figure.subplots(1, 2, sharey=True)
    for axes, (key, title) in zip(all_axes, panels.items(), strict=True):
        axes.axhline(numbers["clean_accuracy"], color="black", linestyle="--", label="clean")
        for name, label in _LINES.items():
            accuracies = numbers[name][f"accuracy_{key}"]
            bars = np.abs(np.transpose(numbers[name][f"interval_{key}"]) - accuracies)
            passes = range(1, len(accuracies) + 1)
            axes.errorbar(passes, accuracies, bars, fmt="o-", capsize=3, label=label)
        axes.set_title(f"right {title}", fontsize=_FONT_SIZE)
        axes.set_xlabel("pass", fontsize=_FONT_SIZE)
        axes.set(ylim=(0, 1.05), xticks=passes)
        axes.tick_params(labelsize=_FONT_SIZE - 2)
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel("share of images", fontsize=_FONT_SIZE)
    figure.suptitle(
        f"A classifier without defence on {numbers['num_examples']} images, under both adversaries "
        "(bars: 95% intervals)",
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
        "frozen_run_dir",
        None,
        "Run of --method=fs_gan --freeze_classifier, for Figure 4.",
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
    flags.DEFINE_string(
        "split", "validation", "Images: validation, test, train.", flag_values=values
    )
    flags.DEFINE_integer("num_examples", 1000, "Images of Figure 4.", 2, flag_values=values)
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
