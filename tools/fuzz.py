"""Feeds damaged and random bytes to everything that reads files or flags from outside.

    python tools/fuzz.py [--inputs=10000] [--targets=flags,images_served] [--seed=0]

Inputs are drawn from --seed and their number, and may be accepted, or refused as the reader
documents. Another exception, the death of the process (a child's) and an answer that does not come
within --hang_seconds are failures: the input is kept in --failures_dir, and the exit code is 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import multiprocessing
import os
import random
import re
import resource
import struct
import sys
import tempfile
import time
import traceback
import types
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import experiments
import numpy as np
from absl import flags
from tqdm import tqdm

from fsgan_tf.cli import evaluation_flags, runner, settings_flags, training_flags
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.export import export_flags
from fsgan_tf.models.settings import ExportSettings, PredictionSettings
from fsgan_tf.predict import predict_flags
from fsgan_tf.reporting import results_file

Mutation = Callable[[random.Random, list[bytes]], bytes]
# Takes an input; returns whether it is accepted, or raises `UserError` where it is refused.
Reader = Callable[[bytes], bool]

_MEMORY = 12 * 2**30
_START_SECONDS = 120  # To import TensorFlow and to make the seeds.
_MOST_FAILURES = 20  # Of one target; then it is given up.
_EDGES = (b"", b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\n" * 50)
_WORDS = (
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"9" * 400, b"9" * 5000, b"1e-400", b"0.5"),
    *(b"null", b"true", b"[]", b"{}", b'""', b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe", b"\\ud800"),
    *(b"../../x", b"/", b"%s%n", b"8/0", b"1/3", b"=", b",", b"\r", b"\x1b[2J", b"--", b"#"),
)


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader, and how to make inputs for it.

    Attributes:
      name: as `--targets` takes it.
      prepare: makes, in an empty folder, valid inputs and the reader.
      mutate: makes an input from valid ones.
    """

    name: str
    prepare: Callable[[Path], tuple[list[bytes], Reader]]
    mutate: Mutation


@dataclasses.dataclass(frozen=True)
class Failure:
    """An input that was neither accepted nor refused.

    Attributes:
      number: of the input.
      content: the input.
      told: what it did.
    """

    number: int
    content: bytes
    told: str


@dataclasses.dataclass
class Outcome:
    """What became of a target's inputs.

    Attributes:
      accepted: how many were.
      refused: how many were, as documented.
      failures: the others.
      seconds: spent on all of them.
    """

    accepted: int = 0
    refused: int = 0
    failures: list[Failure] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Fuzzes the targets one after the other and prints a table, a row as each ends."""
    del words
    header = ["target", "inputs", "accepted", "refused", "failures", "inputs/s"]
    print(experiments.table(header, []), flush=True)
    num_failures = 0
    for target in [TARGETS[name] for name in flag_values.targets]:
        outcome = fuzz(target, flag_values.inputs, flag_values.seed, flag_values.hang_seconds)
        num_failures += len(outcome.failures)
        print("| " + " | ".join(_row(target.name, outcome)) + " |", flush=True)
        for failure in outcome.failures:
            file = Path(flag_values.failures_dir, f"{target.name}_{failure.number}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(failure.content)
            print(f"{file}: {failure.told}", file=sys.stderr)
    if num_failures:
        raise RunError(f"{num_failures} failures; their inputs are in {flag_values.failures_dir}")


def fuzz(target: Target, inputs: int, seed: int, hang_seconds: float) -> Outcome:
    """Feeds a target in a child process; a new one continues where one died or hung."""
    outcome, first = Outcome(), 0
    start = time.monotonic()
    with tqdm(total=inputs, desc=target.name, unit=" inputs", disable=None) as bar:
        while first < inputs and len(outcome.failures) < _MOST_FAILURES:
            first = _fuzz_from(target, first, inputs, seed, hang_seconds, outcome, bar)
    outcome.seconds = time.monotonic() - start
    return outcome


def answers(
    target: Target, inputs: Iterable[int], seed: int
) -> Iterator[tuple[int, bytes, bool | str | None]]:
    """Feeds a target in this process.

    Yields:
      Number and content of each input and None before it is fed; after it the number, nothing, and
      whether it was accepted, or what it raised.
    """
    # In memory, where there is such a place: some readers write, and wait for the disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        seeds, read = target.prepare(Path(folder))
        for number in inputs:
            content = _make_input(target, seeds, seed, number)
            yield number, content, None
            yield number, b"", _answer(read, content)


def _answer(read: Reader, content: bytes) -> bool | str:
    try:
        return read(content)
    except UserError as error:
        # A refusal is one line.
        return f"lines: {error!r}" if "\n" in str(error).strip() else False
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:300]} ({where.name}, line {where.lineno})"


def _make_input(target: Target, seeds: list[bytes], seed: int, number: int) -> bytes:
    source = random.Random(f"{seed} {target.name} {number}")
    if source.random() < 0.02:
        return source.randbytes(source.randrange(300))
    return target.mutate(source, seeds)


def _fuzz_from(
    target: Target,
    first: int,
    inputs: int,
    seed: int,
    hang_seconds: float,
    outcome: Outcome,
    bar: tqdm,
) -> int:
    """Feeds inputs from `first` on until the child ends; returns which comes next."""
    context = multiprocessing.get_context("spawn")  # A fork would inherit TensorFlow's threads.
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_feed, args=(target, range(first, inputs), seed, sender))
    child.start()
    sender.close()
    number, content, allowed = first, b"", float(_START_SECONDS)
    try:
        while True:
            if not receiver.poll(allowed):
                told = f"no answer in {allowed:g} seconds"
                outcome.failures.append(Failure(number, content, told))
                return number + 1
            number, fed, answer = receiver.recv()
            allowed = hang_seconds
            if answer is None:
                content = fed
                continue
            bar.update()
            _count(outcome, number, content, answer)
            if number + 1 == inputs or len(outcome.failures) >= _MOST_FAILURES:
                return number + 1
    except EOFError:
        child.join()
        told = f"the process died with exit code {child.exitcode}"
        outcome.failures.append(Failure(number, content, told))
        return number + 1
    finally:
        child.kill()
        child.join()


def _count(outcome: Outcome, number: int, content: bytes, answer: bool | str) -> None:
    if answer is True:
        outcome.accepted += 1
    elif answer is False:
        outcome.refused += 1
    else:
        outcome.failures.append(Failure(number, content, str(answer)))


def _feed(target: Target, inputs: range, seed: int, sender: Connection) -> None:
    """The child: no core files, bounded memory, and no output but the answers."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    for answer in answers(target, inputs, seed):
        sender.send(answer)


def _row(name: str, outcome: Outcome) -> list[str]:
    count = outcome.accepted + outcome.refused + len(outcome.failures)
    numbers = (count, outcome.accepted, outcome.refused, len(outcome.failures))
    return [name, *(f"{number:,}" for number in numbers), f"{count / outcome.seconds:,.0f}"]


# Mutations.


def mutate(source: random.Random, seeds: list[bytes]) -> bytes:
    """Some small changes to a valid input: bits, pieces, numbers at the edges, other seeds."""
    content = source.choice(seeds)
    for _ in range(1 + min(int(source.expovariate(0.5)), 20)):
        content = _mutate_once(source, content, seeds)
    return content


def _mutate_once(source: random.Random, content: bytes, seeds: list[bytes]) -> bytes:
    start = source.randrange(len(content) + 1)
    end = min(len(content), start + int(source.expovariate(0.1)))
    kind = source.randrange(7)
    if kind == 0 and content:  # a bit
        position = source.randrange(len(content))
        changed = content[position] ^ (1 << source.randrange(8))
        return content[:position] + bytes([changed]) + content[position + 1 :]
    if kind == 1:
        piece = source.randbytes(end - start)
    elif kind == 2:
        piece = source.choice(_EDGES)
    elif kind == 3:
        piece = b""
    elif kind == 4:
        piece = content[start:end] * 2
    elif kind == 5:
        other = source.choice(seeds)
        position = source.randrange(len(other) + 1)
        piece = other[position : position + source.randrange(100)]
    else:
        return content[:start]
    return content[:start] + piece + content[end:]


def mutate_text(source: random.Random, seeds: list[bytes]) -> bytes:
    """As `mutate`, and words and numbers replaced by others that are at home in text."""
    content = mutate(source, seeds) if source.random() < 0.3 else source.choice(seeds)
    for _ in range(1 + min(int(source.expovariate(0.7)), 8)):
        tokens = _tokens(content)
        if tokens:
            start, end = source.choice(tokens)
            word = source.choice(_WORDS)
            if source.random() < 0.3:
                other = source.choice(seeds)
                word = other[slice(*source.choice(_tokens(other)))]
            content = content[:start] + word + content[end:]
    return content


@functools.lru_cache(maxsize=100)
def _tokens(content: bytes) -> list[tuple[int, int]]:
    """Where words and numbers stand."""
    return [match.span() for match in re.finditer(rb"[\w.+-]+", content[:20_000])]


def mutate_image(source: random.Random, seeds: list[bytes]) -> bytes:
    """As `mutate`; every second PNG with its checksums made right, to get past them."""
    content = mutate(source, seeds)
    return _with_checksums(content) if source.random() < 0.5 else content


def _with_checksums(png: bytes) -> bytes:
    parts, position = [png[:8]], 8
    while position + 12 <= len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        end = position + 8 + length
        if end > len(png):
            break
        chunk = png[position + 4 : end]
        parts += [png[position : position + 4], chunk, struct.pack(">I", zlib.crc32(chunk))]
        position = end + 4
    return b"".join(parts) + png[position:]


def mutate_archive(source: random.Random, seeds: list[bytes]) -> bytes:
    """As `mutate` of a zip file, or of a member that is packed again with a right checksum."""
    if source.random() < 0.3:
        return mutate(source, seeds)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(source.choice(seeds))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    changed = source.choice(list(members))
    change = mutate_text if source.random() < 0.5 else mutate
    members[changed] = change(source, [members[changed]])
    if source.random() < 0.1:
        members[source.choice(["../x", "/x", "config.json", "x.pkl", "__progress__.npy"])] = b"{}"
    with zipfile.ZipFile(stream, "w", source.choice([0, zipfile.ZIP_DEFLATED])) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


# Readers.

_COMMANDS = {
    "train": training_flags.training_flags,
    "evaluate": evaluation_flags.evaluation_flags,
    "export": export_flags,
    "predict": predict_flags,
}
_READERS: dict[str, Callable[[Any], object]] = {
    "train": training_flags.configuration,
    "evaluate": evaluation_flags.configuration,
    "export": functools.partial(settings_flags.read, ExportSettings),
    "predict": functools.partial(settings_flags.read, PredictionSettings),
}


def _flags_target(folder: Path) -> tuple[list[bytes], Reader]:
    """Command lines of every command, a word a line after the command's name."""
    lines = [
        "\n".join([name, *(flag for flag in make().flags_into_string().splitlines() if flag)])
        for name, make in _COMMANDS.items()
    ]
    lines.append("train\n--epsilon=8/255\n--nodry_run\n--lr_decay_epochs=1,2\n--method")
    lines.append("train\n--flagfile=configs/digits.flags\n--undefok=seeds")
    lines.append("predict\na.png\n--saved_model=x\n--top=3\n--json")
    lines.append("evaluate\n--keras_model=x\n--epsilon=8/255\n--mean=0.4,0.5\n--attacks=fgsm,pgd20")
    lines.append("export\n--run_dir=x\n--format=litert")

    def read(content: bytes) -> bool:
        name, *argv = content.decode(errors="surrogateescape").split("\n")
        return _parse(name if name in _COMMANDS else "train", argv)

    return [line.encode() for line in lines], read


def _flag_files_target(folder: Path) -> tuple[list[bytes], Reader]:
    """Flag files, as `--flagfile` and as the flags.txt of a run."""
    from fsgan_tf.runs.directory import RunDirectory

    seeds = [file.read_bytes() for file in sorted(Path("configs").glob("**/*.flags"))]
    seeds.append(training_flags.parse([]).to_flags().encode())
    run = RunDirectory(folder)

    def read(content: bytes) -> bool:
        run.flags_file.write_bytes(content)
        accepted = _parse("train", [f"--flagfile={run.flags_file}"])
        run.read_configuration()
        return accepted

    return seeds, read


def _parse(name: str, argv: list[str]) -> bool:
    def complete(values: flags.FlagValues, words: list[str]) -> None:
        del words
        _READERS[name](values)
        values.flags_into_string()

    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = runner.run(complete, _COMMANDS[name](), description="", argv=argv, takes_words=True)
    if code not in (0, 2) or told.getvalue().count("\n") > 1 and code:
        raise AssertionError(f"exit code {code}: {told.getvalue()}")
    return code == 0


_RESULTS: dict[str, Any] = {
    "model": "runs/x",
    "split": "test",
    "num_examples": 10,
    "threat_model": {"norm": "linf", "epsilon": 0.05},
    "clean_accuracy": 0.9,
    "attacks": [{"name": "fgsm", "accuracy": 0.5}, {"name": "pgd20", "accuracy": 0.25}],
    "worst_case_accuracy": 0.5,
    "classifier_sha256": "0123",
}


def _results_target(folder: Path) -> tuple[list[bytes], Reader]:
    """results.json, as series of runs read it."""
    file = folder / "results.json"

    def read(content: bytes) -> bool:
        file.write_bytes(content)
        experiments._holds(file, ["fgsm"])
        experiments.accuracies(results_file.read(file))
        return True

    return [json.dumps(_RESULTS).encode()], read


def _metrics_target(folder: Path) -> tuple[list[bytes], Reader]:
    """metrics.jsonl, as a resumed training, its warnings and series of runs read it."""
    from fsgan_tf.runs.directory import RunDirectory
    from fsgan_tf.training.callbacks.warnings import warnings_of

    run = RunDirectory(folder)
    run.flags_file.write_text("--batch_size=50\n")
    accuracies = {"one_step_accuracy": 0.5, "robust_accuracy": 0.25, "accuracy_on_adversarial": 0.5}
    rows = [
        {"epoch": epoch, "step": 9 * epoch, "images_per_second": 9.5, "loss": 1.5, **accuracies}
        for epoch in range(3)
    ]
    lines = [json.dumps(row) + "\n" for row in rows]

    def read(content: bytes) -> bool:
        run.metrics.file.write_bytes(content)
        found = run.metrics.read()
        warnings_of(found, rows[0])
        experiments.training_minutes(folder)
        run.metrics.keep_before(2)
        return len(run.metrics.read()) <= len(found)

    return ["".join(lines).encode(), lines[0].encode()], read


def _checkpoints_target(folder: Path) -> tuple[list[bytes], Reader]:
    """Checkpoints, as a resumed training reads them; without their recorded hash."""
    import keras

    from fsgan_tf.runs.checkpoints import Progress
    from fsgan_tf.runs.directory import RunDirectory

    classifier = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    method = types.SimpleNamespace(
        networks={"classifier": classifier},
        optimizers_by_network={},
        means={},
        average=None,
        memory=None,
    )
    run = RunDirectory(folder)
    run.checkpoints.folder.mkdir()
    progress = Progress(1, 0, ("cat", "dog"), (8, 8, 3))
    run.checkpoints.save(method, progress)
    (file,) = run.checkpoints.folder.glob("*.npz")
    run.checkpoints.checksums_file.unlink()

    def read(content: bytes) -> bool:
        file.write_bytes(content)
        with contextlib.redirect_stderr(io.StringIO()):
            found = run.checkpoints.restore(method)
        return isinstance(found, Progress)

    return [file.read_bytes()], read


def _saved_examples_target(folder: Path) -> tuple[list[bytes], Reader]:
    """Adversarial images on disk, as an evaluation verifies them."""
    from fsgan_tf.evaluation import saved_examples

    stream = io.BytesIO()
    images = np.linspace(0, 1, 3 * 4 * 4 * 3, dtype=np.float32).reshape(3, 4, 4, 3)
    sha256 = np.array("0123")
    np.savez(stream, indices=np.array([0, 2, 5]), images=images, dataset_sha256=sha256)
    file = folder / "examples.npz"

    def read(content: bytes) -> bool:
        file.write_bytes(content)
        return len(saved_examples.load(str(file), (4, 4, 3), "0123").images) <= len(content)

    return [stream.getvalue()], read


def _images() -> list[bytes]:
    """PNG and JPEG files of every kind that TensorFlow writes."""
    import tensorflow as tf

    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)
    pngs = [pixels[..., :count] for count in (1, 2, 3, 4)]
    pngs += [image.astype(np.uint16) * 257 for image in pngs]
    files = [tf.io.encode_png(image) for image in pngs]
    for image in (pixels[..., :1], pixels[..., :3]):
        files += [tf.io.encode_jpeg(image), tf.io.encode_jpeg(image, progressive=True)]
    return [file.numpy() for file in files]


def _export(folder: Path) -> Path:
    """A small exported classifier."""
    import keras

    from fsgan_tf.models.saving import save_classifier

    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    save_classifier(keras.Sequential(layers), ("cat", "dog"), folder / "saved_model")
    return folder / "saved_model"


def _images_served_target(folder: Path) -> tuple[list[bytes], Reader]:
    """Images sent to `serving_bytes` after a good one; a refusal must name index 1 alone."""
    import tensorflow as tf

    seeds = _images()
    loaded = tf.saved_model.load(str(_export(folder)))

    def read(content: bytes) -> bool:
        try:
            batch = tf.constant([seeds[0], content])
            answer = loaded.signatures["serving_bytes"](image_bytes=batch)
        except tf.errors.InvalidArgumentError as error:
            if "indices of image_bytes: [1]" in error.message:
                return False
            raise
        return bool(tf.reduce_all(tf.math.is_finite(answer["logits"])))

    return seeds, read


def _images_in_folders_target(folder: Path) -> tuple[list[bytes], Reader]:
    """Image files of a folder of class folders, of which what is no image is skipped."""
    from fsgan_tf.data.image_files import decode_file

    def read(content: bytes) -> bool:
        (folder / "image.png").write_bytes(content)
        image = decode_file(folder / "image.png", (8, 8, 3))
        if image is not None and image.shape != (8, 8, 3):
            raise AssertionError(f"an image of {image.shape}")
        return image is not None

    return _images(), read


def _images_predicted_target(folder: Path) -> tuple[list[bytes], Reader]:
    """Image files that `predict` labels."""
    from fsgan_tf.models.prediction import of_saved_model, predict_files

    classifier = of_saved_model(_export(folder))

    def read(content: bytes) -> bool:
        (folder / "image.png").write_bytes(content)
        (result,) = predict_files(classifier, [str(folder / "image.png")])
        if isinstance(result, UserError):
            raise result
        return True

    return _images(), read


def _saved_models_target(folder: Path) -> tuple[list[bytes], Reader]:
    """saved_model.pb, as it is checked before it is loaded."""
    from fsgan_tf.untrusted.saved_models import check_saved_model

    saved_model = _export(folder)
    file = saved_model / "saved_model.pb"

    def read(content: bytes) -> bool:
        file.write_bytes(content)
        check_saved_model(saved_model)
        return True

    return [file.read_bytes()], read


def _keras_files_target(folder: Path) -> tuple[list[bytes], Reader]:
    """`.keras` files, as they are checked before they are loaded."""
    import keras

    from fsgan_tf.untrusted.keras_files import check_keras_archive

    file = folder / "model.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="relu")]).save(file)

    def read(content: bytes) -> bool:
        file.write_bytes(content)
        check_keras_archive(file)
        return True

    return [file.read_bytes()], read


TARGETS = {
    target.name: target
    for target in (
        Target("flags", _flags_target, mutate_text),
        Target("flag_files", _flag_files_target, mutate_text),
        Target("results", _results_target, mutate_text),
        Target("metrics", _metrics_target, mutate_text),
        Target("checkpoints", _checkpoints_target, mutate_archive),
        Target("saved_examples", _saved_examples_target, mutate_archive),
        Target("images_served", _images_served_target, mutate_image),
        Target("images_in_folders", _images_in_folders_target, mutate_image),
        Target("images_predicted", _images_predicted_target, mutate_image),
        Target("saved_models", _saved_models_target, mutate),
        Target("keras_files", _keras_files_target, mutate_archive),
    )
}


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_integer(
        "inputs", 10_000, "How many inputs each target is fed.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_list(
        "targets", list(TARGETS), f"Which of {', '.join(TARGETS)}.", flag_values=values
    )
    flags.register_validator(
        "targets",
        lambda names: set(names) <= set(TARGETS),
        f"must be of {', '.join(TARGETS)}",
        flag_values=values,
    )
    flags.DEFINE_integer("seed", 0, "Seed of the inputs.", lower_bound=0, flag_values=values)
    flags.DEFINE_float(
        "hang_seconds",
        30.0,
        "An input that takes more seconds counts as a hang.",
        1.0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "failures_dir", "fuzz_failures", "Folder for inputs that fail.", flag_values=values
    )
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
