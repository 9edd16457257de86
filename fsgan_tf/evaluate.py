"""Measures the robust accuracy of a classifier: a run's, a SavedModel's or a Keras file's."""

import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from fsgan_tf import files, norms
from fsgan_tf.attacks import registry
from fsgan_tf.cli import flags as command_flags
from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import RunError, UserError, VerdictError
from fsgan_tf.evaluation.settings import EvaluationSettings
from fsgan_tf.models.named_model import OPTIONS, named_model
from fsgan_tf.settings import Settings

if TYPE_CHECKING:
    from fsgan_tf.attacks.parts.attack import Attack
    from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
    from fsgan_tf.attacks.parts.source import Source
    from fsgan_tf.data.split import Split
    from fsgan_tf.evaluation.result import Result
    from fsgan_tf.models.classifier import Classifier
    from fsgan_tf.threat_model import ThreatModel


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Evaluates the classifier that the flags name; see `--help`.

    Args:
      flag_values: as made by `cli.flags.evaluation_flags`.
      words: further results of --compare; else none are taken.

    Raises:
      UserError: flags, model or data do not fit.
      RunError: the batch does not fit in memory, or the results cannot be written.
      VerdictError: `--fail_on` refuses the verdict.
    """
    asked = command_flags.evaluation(flag_values)
    if asked.report.compare is not None:
        if asked.report.fail_on:
            raise UserError("--fail_on judges one evaluation; leave it out of a --compare")
        _compare([*asked.report.compare, *words], asked.report.output_dir)
        return
    runner.refuse_words(words)
    named = named_model(asked.model)
    model_flag, path = named.flag, named.path
    if model_flag != "run_dir" and not (asked.report.output_dir or asked.evaluation.dry_run):
        raise UserError(f"--{model_flag} needs --output_dir, a folder for the results")

    quiet.start_tensorflow()
    import tensorflow as tf

    from fsgan_tf import devices
    from fsgan_tf.evaluation import estimate, run_and_diagnose, saved_examples
    from fsgan_tf.evaluation.request import Radius, Request
    from fsgan_tf.evaluation.state import fingerprint, resumable
    from fsgan_tf.models import fit, loading
    from fsgan_tf.reporting import earlier, report, robustbench
    from fsgan_tf.runs.directory import RunDirectory
    from fsgan_tf.threat_model import ThreatModel

    placed = devices.replica_devices(asked.evaluation.strategy)
    if asked.evaluation.deterministic:
        devices.make_deterministic()
    classifier, copies = _copies(lambda: loading.load_named(named), placed)
    dataset = _setting(asked.data, classifier, "dataset", model_flag)
    if asked.report.output_dir:
        files.require_outside(asked.report.output_dir, dataset, "output_dir")
    norm = _setting(asked.evaluation, classifier, "norm") or "linf"
    _require_epsilon_of(norm, asked.evaluation, classifier)
    radii = _radii(asked.evaluation, classifier, model_flag)
    for radius in radii:
        if fault := norms.radius_fault(norm, radius):
            flag = "epsilons" if asked.evaluation.epsilons else "epsilon"
            raise UserError(f"--{flag}={radius:g}: {fault}")
    largest, *smaller = (ThreatModel(radius, norm=norm) for radius in radii)
    sources, source_classifiers = _sources(asked.evaluation.source, placed)
    attacks = _attacks(asked, largest, sources)
    fit.require_gradients(classifier, path, attacks)
    split, class_names = _examples(asked, classifier, dataset)
    image_shape = split.image_shape
    paths = [path, *(source.path for source in sources)]
    for loaded, where in zip([classifier, *source_classifiers], paths, strict=True):
        fit.require_fit(loaded, where, dataset, image_shape, class_names)
    examples = split.first(asked.data.num_examples)
    for loaded, where in zip(source_classifiers, paths[1:], strict=True):
        _require_trained_pixels(asked, loaded, f"--source={where}", examples)
    _require_trained_pixels(asked, classifier, named.path, examples)
    _require_expected_accuracy(asked, classifier, examples)
    dataset_sha256 = examples.sha256()
    saved = []
    if asked.evaluation.verify_examples:
        saved.append(
            saved_examples.load(asked.evaluation.verify_examples, image_shape, dataset_sha256, norm)
        )
    output_dir = Path(asked.report.output_dir or RunDirectory(path).evaluation)
    request = Request(
        threat_model=largest,
        attacks=(*attacks, *saved),
        batch_size=asked.evaluation.batch_size,
        seed=asked.evaluation.seed,
        standalone=asked.evaluation.runs_standalone,
        sources=tuple(sources),
        checks=asked.evaluation.checks,
        eot=asked.evaluation.averages_over,
        smaller=[Radius(ball, (*_attacks(asked, ball, sources), *saved)) for ball in smaller],
    )
    if asked.evaluation.dry_run:
        able = classifier.differentiable
        pixels, labels = examples.images, examples.labels
        print(f"{path} on {split.name} of {dataset}")
        print(estimate.estimate(copies, pixels, labels, request, differentiable=able))
        return
    manifest = report.Manifest(
        model=path,
        dataset=dataset,
        split=split.name,
        dataset_sha256=dataset_sha256,
        class_names=class_names,
        classifier_sha256=classifier.sha256,
        command=shlex.join(["python", "-m", "fsgan_tf.evaluate", *sys.argv[1:]]),
        sources=tuple(map(str, sources)),
        suite="" if asked.evaluation.attacks else asked.evaluation.suite,
    )
    hashes = {"classifier_sha256": classifier.sha256, "dataset_sha256": dataset_sha256}
    # What decides a classifier's answers beside its files.
    model_options = {name: getattr(asked.model, name) for name in OPTIONS}
    model_options["deterministic"] = asked.evaluation.deterministic
    names = ["results.json", "report.md", "report.html"]
    with resumable(
        output_dir, fingerprint(request, model_options=model_options, **hashes)
    ) as state:
        try:
            result = run_and_diagnose.measure(
                copies,
                examples.images,
                examples.labels,
                request,
                known=[classifier.upper_bound] if classifier.upper_bound else [],
                state=state,
                progress=True,
            )
        except tf.errors.ResourceExhaustedError as error:
            raise RunError(
                f"out of memory; give a smaller --batch_size than {asked.evaluation.batch_size}"
            ) from error
        goes_on = f"the same command resumes from {state.folder}"
        with files.told_in_one_line(output_dir, goes_on):
            report.write(output_dir, result, manifest)
            if asked.report.save_examples:
                saved_examples.save(output_dir / saved_examples.FILE_NAME, result, **hashes)
                names.append(saved_examples.FILE_NAME)
            if asked.report.format == "robustbench":
                robustbench.write(output_dir, result, manifest)
                names.append(robustbench.FILE_NAME)
    print(report.as_table(result))
    print("written:", *(output_dir / name for name in names))
    if (output_dir / earlier.FOLDER).is_dir():
        print("earlier results are kept in", output_dir / earlier.FOLDER)
    _require_verdict(result, asked.report.fail_on)


def _compare(paths: Sequence[str], output_dir: str | None) -> None:
    """Prints several results side by side, and writes them to a folder where one is given."""
    from fsgan_tf.reporting import comparison, comparison_page

    entries = comparison.read(paths)
    print(comparison.as_text(entries))
    if output_dir:
        folder = Path(output_dir)
        with files.told_in_one_line(folder, "make room, or give another --output_dir"):
            print("written:", *comparison_page.write(folder, entries))


def _require_verdict(result: "Result", fail_on: str | None) -> None:
    """Raises VerdictError where `--fail_on` refuses the result."""
    from fsgan_tf.results import summary

    refused = {"fail": {summary.NO_FIGURE}, "warn": {summary.NO_FIGURE, summary.UPPER_BOUND}}
    if fail_on and result.verdict in refused[fail_on]:
        raise VerdictError(f"the verdict is '{result.verdict}', which --fail_on={fail_on} refuses")


def _require_trained_pixels(
    asked: command_flags.EvaluationConfiguration,
    classifier: "Classifier",
    where: str,
    examples: "Split",
) -> None:
    """Prints what was adapted; stops where other pixels are clearly those of the training."""
    from fsgan_tf.models import clean_accuracy

    for note in classifier.notes:
        print(f"note: {where}: {note}", file=sys.stderr)
    # Ours, also exported with the names of its classes, normalise inside.
    is_ours = classifier.configuration is not None or classifier.class_names is not None
    if is_ours or asked.model.preprocessing == "as_given":
        return
    pixels, labels = examples.images, examples.labels
    better = clean_accuracy.better_preprocessing(
        classifier, pixels, labels, batch_size=asked.evaluation.batch_size
    )
    if better is None:
        return
    advice = "give those flags, or --preprocessing=as_given to evaluate with yours"
    if where.startswith("--source="):
        advice = (
            "a source takes pixels of [0,1]: put the rest into its file, as keras.layers.Rescaling "
            "does, or give --preprocessing=as_given to attack from it as it is"
        )
    raise UserError(f"{where}: {better}; {advice}")


def _require_expected_accuracy(
    asked: command_flags.EvaluationConfiguration, classifier: "Classifier", examples: "Split"
) -> None:
    from fsgan_tf.models import clean_accuracy

    expected = asked.model.expected_clean_accuracy
    if expected is not None:
        clean_accuracy.require_expected(
            classifier,
            examples.images,
            examples.labels,
            expected,
            batch_size=asked.evaluation.batch_size,
        )


def _copies(
    load: "Callable[[], Classifier]", devices: Sequence[str]
) -> "tuple[Classifier, tuple[AttackedClassifier, ...]]":
    """Loads a classifier once on each device, or where TensorFlow likes if none is named."""
    import tensorflow as tf

    from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier

    if not devices:
        classifier = load()
        copy = AttackedClassifier(classifier.logits_fn, differentiable=classifier.differentiable)
        return classifier, (copy,)
    loaded = []
    for device in devices:
        with tf.device(device):
            loaded.append(load())
    return loaded[0], tuple(
        AttackedClassifier(classifier.logits_fn, device, differentiable=classifier.differentiable)
        for classifier, device in zip(loaded, devices, strict=True)
    )


def _sources(
    paths: Sequence[str], devices: Sequence[str]
) -> "tuple[list[Source], list[Classifier]]":
    """Loads the classifiers of `--source`, whatever their kind.

    Each is called like its folder, or by its path where others are called so too.
    """
    from fsgan_tf.attacks.parts.source import Source
    from fsgan_tf.models import loading

    paths = list(dict.fromkeys(paths))
    names = [Path(path).resolve().name for path in paths]
    sources, loaded = [], []
    for path, name in zip(paths, names, strict=True):
        classifier, copies = _copies(functools.partial(loading.load, path), devices)
        configuration = classifier.configuration
        sources.append(
            Source(
                name=path if names.count(name) > 1 else name,
                copies=copies,
                path=path,
                sha256=classifier.sha256,
                method=configuration.training.method if configuration else None,
                seed=configuration.training.seed if configuration else None,
            )
        )
        loaded.append(classifier)
    return sources, loaded


def _examples(
    asked: command_flags.EvaluationConfiguration, classifier: "Classifier", dataset: str
) -> "tuple[Split, tuple[str, ...]]":
    from fsgan_tf.data import loading, registry

    options = {
        name: _setting(asked.data, classifier, name)
        for name in ("image_size", "channels", "memory_limit")
    }
    # Those of other sources are refused if they are given, and left out if the run had them.
    own = registry.own_fields(registry.source_of(dataset))
    if classifier.configuration is not None:
        trained_with = classifier.configuration.values()
        options |= {name: trained_with[name] for name in own if name in trained_with}
    options |= asked.source
    if asked.data.split == "validation":
        options["validation_examples"] = _setting(
            asked.data, classifier, "validation_examples", "split=validation"
        )
    configuration = classifier.configuration
    return loading.load_split(
        dataset,
        asked.data.split,
        trained_on=configuration is not None and _same_data(configuration.data.dataset, dataset),
        class_names=asked.data.class_names,
        known_names=classifier.class_names or (),
        **options,
    )


def _same_data(first: str, second: str) -> bool:
    # Of TFDS' NAME:VERSION the name alone.
    paths = [Path(name.partition(":")[0]).expanduser().resolve() for name in (first, second)]
    return paths[0] == paths[1]


def _setting(
    given: Settings,
    classifier: "Classifier",
    name: str,
    required_with: str | None = None,
) -> Any:
    """The setting if given, else the value the run was trained with."""
    value = getattr(given, name)
    if value is None and classifier.configuration is not None:
        value = classifier.configuration.values()[name]
    if value is None and required_with:
        raise UserError(f"--{required_with} does not say its {name}; give --{name}")
    return value


def _radii(
    asked: EvaluationSettings, classifier: "Classifier", model_flag: str
) -> tuple[float, ...]:
    """The radii to evaluate at, the largest first."""
    if asked.epsilons is None:
        return (_setting(asked, classifier, "epsilon", model_flag),)
    if asked.epsilon is not None:
        raise UserError("--epsilon and --epsilons both say the radius; give one of them")
    return tuple(sorted(set(asked.epsilons), reverse=True))


def _require_epsilon_of(norm: str, asked: EvaluationSettings, classifier: "Classifier") -> None:
    """Stops where the only epsilon there is belongs to another norm."""
    if asked.epsilon or asked.epsilons or classifier.configuration is None:
        return
    trained = classifier.configuration.training
    if trained.norm != norm:
        raise UserError(
            f"--norm={norm} needs --epsilon in its own unit; the run's is "
            f"{norms.radius_text(trained.norm, trained.epsilon)} in {trained.norm}"
        )


def _attacks(
    asked: command_flags.EvaluationConfiguration,
    threat_model: "ThreatModel",
    sources: "Sequence[Source]",
) -> "list[Attack]":
    names, suite = asked.evaluation.attacks, asked.evaluation.suite
    options = {"norm": threat_model.norm, "sources": sources, **asked.attacks}
    if names is not None:
        return registry.by_names(names, threat_model.epsilon, **options)
    return registry.suite(suite, threat_model.epsilon, **options)


if __name__ == "__main__":
    sys.exit(
        runner.run(
            main,
            command_flags.evaluation_flags(),
            description=__doc__ or "",
            takes_words=True,
            help_text=command_flags.evaluation_help,
        )
    )
