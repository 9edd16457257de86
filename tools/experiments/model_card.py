"""The model card of a packaged classifier; every figure is read from its run or its evaluation."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import experiments
from experiments import provenance, statistics
from fsgan_tf import norms
from fsgan_tf.errors import UserError

if TYPE_CHECKING:
    from fsgan_tf.runs.configuration import TrainingConfiguration
    from fsgan_tf.runs.restored import RestoredClassifier

# What the images are and under which licence, by data set.
_DATA = {
    "digits": (
        "the UCI repository's Optical Recognition of Handwritten Digits (E. Alpaydin and C. "
        "Kaynak, 1998), as scikit-learn holds it, enlarged",
        "CC BY 4.0",
    ),
    "cifar10": ("CIFAR-10 (A. Krizhevsky, 2009)", "published without a licence"),
    "cifar100": ("CIFAR-100 (A. Krizhevsky, 2009)", "published without a licence"),
}

# Flags that say where things are, and what was looked at after the training.
_NOT_OF_THE_WEIGHTS = ("run_dir", "data_dir", "class_names", "memory_limit", "eval_examples")


def described(dataset: str, data: str | None, licence: str | None) -> tuple[str, str]:
    """What the images are, and their licence.

    Args:
      dataset: its name.
      data: what the user says of it; what is known by default.
      licence: likewise.

    Raises:
      UserError: nothing is known of it, and nothing was said.
    """
    known = _DATA.get(dataset, ("", ""))
    said = data or known[0], licence or known[1]
    if not all(said):
        raise UserError(f"say what {dataset} is and its licence: --data and --licence")
    return said


def page(
    name: str,
    run_dir: Path,
    packaged: RestoredClassifier,
    results: dict[str, Any],
    data: tuple[str, str],
    agreement: str,
) -> str:
    """The card in Markdown.

    Args:
      name: of the classifier.
      run_dir: its run.
      packaged: what `fsgan_tf.load_pretrained` will build.
      results: results.json of its evaluation.
      data: what `described` returned.
      agreement: what the rounding of the weights changed, in words.
    """
    configuration, images = packaged.configuration, results["num_examples"]
    accuracies = [("clean", results["clean_accuracy"])]
    accuracies += [
        (f"{'under' if attack['standalone'] else 'and then'} {attack['name']}", attack["accuracy"])
        for attack in results["attacks"]
    ]
    accuracies.append(("**under all of them**", results["worst_case_accuracy"]))
    checks = [check for check in results["checks"] if check["verdict"] in ("warn", "fail")]
    verdicts = [check["verdict"] for check in results["checks"]]
    counts = [f"{verdicts.count(one)} {one}" for one in ("pass", "warn", "fail", "skipped")]
    facts = [
        ("network", f"{packaged.model.name}, {packaged.model.count_params():,} parameters"),
        ("takes", f"float32 images {packaged.progress.image_shape} in [0, 1]; returns logits"),
        ("classes", ", ".join(packaged.class_names)),
        ("data", data[0]),
        ("licence of the data", data[1]),
        ("licence of the weights", "Apache-2.0, as the package"),
        ("trained by", f"`{_training_command(configuration)}`"),
        ("seed of the training", str(configuration.training.seed)),
        *(("trained", _start(start)) for start in provenance.starts(run_dir)),
        ("rounded to float16", agreement),
        ("sha256 of the weights", results["classifier_sha256"]),
    ]
    listed = [f"- {check['name']} ({check['verdict']}): {check['detail']}" for check in checks]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"A classifier trained with `--method={configuration.training.method}` to withstand "
            f"{_changes(results['threat_model'])}. It certifies nothing, and other changes than "
            "these may fool it.",
            "",
            "```python",
            "import fsgan_tf",
            "",
            f'model = fsgan_tf.load_pretrained("{name}")',
            "```",
            "",
            experiments.table(["", ""], facts),
            "",
            f"## Robustness: {results['verdict']}",
            "",
            f"Measured on these weights, rounded as they are here: {images} images of the "
            f"{results['split']} split, seed {results['seed']}, {results['date']}, "
            f"{_versions(results)}, on {results['machine']}. In brackets the 95% interval "
            "(Wilson).",
            "",
            f"`{results['command']}`",
            "",
            experiments.table(
                ["", "accuracy in %"],
                [(what, statistics.summarised([share], images)) for what, share in accuracies],
            ),
            "",
            f"Checks ({results['checks_mode']}): {', '.join(counts)}.",
            *listed,
            "",
        ]
    )


def _changes(threat_model: dict[str, Any]) -> str:
    norm, epsilon = threat_model["norm"], threat_model["epsilon"]
    where = "in any pixel (l_inf)" if norm == "linf" else f"in {norm} norm, of pixels in [0, 1]"
    return f"changes of at most {norms.radius_text(norm, epsilon)} {where}"


def _training_command(settings: TrainingConfiguration) -> str:
    """The flags that differ from the defaults of this method, network and data set."""
    from fsgan_tf.runs.configuration import TrainingConfiguration

    chosen = ("method", "dataset", "architecture")
    texts = settings.texts()
    given = {name: texts[name] for name in chosen}
    defaults = TrainingConfiguration.from_texts(given).texts()
    differing = {n: text for n, text in texts.items() if defaults.get(n) != text}
    named = given | {n: text for n, text in differing.items() if n not in _NOT_OF_THE_WEIGHTS}
    flag_words = (f"--{name}={text}" for name, text in named.items())
    return shlex.join(["python", "-m", "fsgan_tf.train", *flag_words])


def _start(start: dict[str, Any]) -> str:
    return (
        f"from epoch {start['epoch']} on {start['date']}, {_versions(start)}, "
        f"{start['precision']}, on {start['machine']}"
    )


def _versions(record: dict[str, Any]) -> str:
    versions = record["versions"]
    commit = f"commit {versions['commit']}, " if "commit" in versions else ""
    return f"{commit}TensorFlow {versions['tensorflow']}"
