"""Our attacks beside other people's, on the same classifier and images.

    pip install -r requirements-peers.txt
    git clone https://github.com/fra31/auto-attack FOLDER
    python tools/compare_attacks.py --run_dir=RUN --data_dir=DATA --auto_attack=FOLDER
    python tools/compare_attacks.py ... --norm=l2 --epsilon=0.5 --parts=foolbox,auto_attack
    python tools/compare_attacks.py ... --parts=pma,a3 --pma=FOLDER --a3=FOLDER

`foolbox` and `art` attack RUN/saved_model with PGD-20 and with the margin attack C&W-20, through
their own PGD loops. `auto_attack` (version standard), `pma` and `a3` are their authors' PyTorch
code on the same weights in PyTorch, once both networks' logits agree. Ours is
`python -m fsgan_tf.evaluate`. Every attack of a peer is kept in OUTPUT_DIR once it is done: the
same command resumes after an interruption. Prints the table and writes it to OUTPUT_DIR/table.md;
ends with exit code 1 where an accuracy differs by more than it may (docs/fidelity.md). In l2 and l1
Foolbox's PGD takes our step sizes; in l1 it is its `SparseL1DescentAttack`.
"""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import experiments
import numpy as np
from absl import flags
from peers import a3, auto_attack, libraries, pma
from peers.task import Attack, Task, answers

from fsgan_tf import norms
from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import RunError, UserError


@dataclasses.dataclass(frozen=True)
class Clone:
    """Authors' code that nobody packages.

    Attributes:
      repository: at GitHub.
      file: of it, by which it is known.
    """

    repository: str
    file: str


@dataclasses.dataclass(frozen=True)
class Part:
    """A peer and how ours is compared with it.

    Attributes:
      packages: that must be installed, as importlib and as pip name them.
      attacks: the peer's, by our names, for a task.
      names: of the attacks, as ours are called and in the order in which they run.
      cumulative: an attack sees only what withstood those before it, on both sides.
      most: largest difference of the accuracies that are judged, in points.
      norms: in which it is compared with.
      clone: that it runs, if any.
    """

    packages: dict[str, str]
    attacks: Callable[[Task], dict[str, Attack]]
    names: tuple[str, ...]
    cumulative: bool
    most: float
    norms: tuple[str, ...] = norms.NAMES
    clone: Clone | None = None


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Runs what is not there yet, prints the table after every part and judges it."""
    del words
    parts = {name: _PARTS[name] for name in flag_values.parts if name in _PARTS}
    if not parts or len(parts) != len(flag_values.parts):
        raise UserError(f"--parts={','.join(flag_values.parts)}: there are {', '.join(_PARTS)}")
    if not flag_values.run_dir:
        raise UserError("--run_dir is missing: name the run whose classifier is attacked")
    for name, part in parts.items():
        _require_installed(name, part, _folder_of(flag_values, name))
    norm, epsilon = _ball(flag_values)
    for name, part in parts.items():
        if norm not in part.norms:
            raise UserError(f"--parts={name} is compared in {', '.join(part.norms)} alone")
    quiet.start_tensorflow()
    from fsgan_tf.files import make_folder, write_atomically

    output_dir = Path(flag_values.output_dir or Path(flag_values.run_dir) / "compare_attacks")
    task = _task(flag_values, norm, epsilon)
    make_folder(output_dir, "output_dir")
    rows: list[list[str]] = []
    failed = []
    for name, part in parts.items():
        theirs = _measure(task, name, part, output_dir / f"{name}{_suffix(norm)}.json")
        ours = _ours(flag_values, task, part, output_dir)
        part_rows, difference = _compare(name, part, ours, theirs)
        rows += part_rows
        # Rounding aside: 0.5 points of 1,000 images are 5 images.
        if difference > part.most + 1e-9:
            failed.append(f"{name} by {difference:.1f} points, at most {part.most}")
        text = experiments.table(_COLUMNS, rows)
        write_atomically(output_dir / f"table{_suffix(norm)}.md", f"{text}\n".encode())
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


def _ball(flag_values: flags.FlagValues) -> tuple[str, float]:
    """The norm and the radius: those of the training, unless flags say otherwise."""
    from fsgan_tf.runs.directory import RunDirectory

    trained = RunDirectory(flag_values.run_dir).read_configuration().training
    norm = flag_values.norm or trained.norm
    if norm != trained.norm and not flag_values.epsilon:
        raise UserError(f"--norm={norm} needs --epsilon in its own unit")
    return norm, flag_values.epsilon or trained.epsilon


def _task(flag_values: flags.FlagValues, norm: str, epsilon: float) -> Task:
    from fsgan_tf.data import loading
    from fsgan_tf.runs.restored import restore_classifier

    restored = restore_classifier(flag_values.run_dir)
    saved_model = Path(flag_values.run_dir) / "saved_model"
    if not saved_model.is_dir():
        raise UserError(
            f"{saved_model} is missing; python -m fsgan_tf.export --run_dir={flag_values.run_dir}"
        )
    configuration = restored.configuration
    options = configuration.data_options()
    if flag_values.data_dir:
        options["data_dir"] = flag_values.data_dir
    test, _ = loading.load_split(configuration.data.dataset, "test", **options)
    split = test.first(flag_values.num_examples)
    return Task(
        restored,
        saved_model,
        split.images.astype(np.float32) / np.float32(255),
        split.labels,
        split.sha256(),
        epsilon,
        flag_values.batch_size,
        flag_values.seed,
        {name: _folder_of(flag_values, name) for name in flag_values.parts},
        norm,
    )


def _measure(task: Task, name: str, part: Part, file: Path) -> dict[str, dict[str, Any]]:
    """Runs the peer's attacks that are not in `file` yet; the content by attack."""
    from fsgan_tf.files import write_atomically

    commit = _commit(task.clones[name])
    inputs = {
        **_asked(task),
        "versions": {pip: _version(pip) for pip in part.packages.values()},
        **({"clone_commit": commit} if commit else {}),
    }
    kept = json.loads(file.read_text()) if file.is_file() else {}
    done = kept["attacks"] if kept.get("inputs") == inputs else {}
    standing = answers(task, task.images) == task.labels
    # Made when first needed: making them may compile or compare networks.
    attacks: dict[str, Attack] = {}
    for attack in part.names:
        if attack not in done:
            attacks = attacks or part.attacks(task)
            print(f"{file.stem}: {attack} on {standing.sum()} images", file=sys.stderr, flush=True)
            candidates = np.flatnonzero(standing)
            start = time.monotonic()
            fooled = attacks[attack](task.images[candidates], task.labels[candidates])
            withstood = candidates[~fooled]
            done[attack] = {
                "accuracy": len(withstood) / len(task.labels),
                "seconds": time.monotonic() - start,
                "withstood": withstood.tolist(),
            }
            content = json.dumps({"inputs": inputs, "attacks": done}, indent=1)
            write_atomically(file, f"{content}\n".encode())
        if part.cumulative:
            standing = np.isin(np.arange(len(task.labels)), done[attack]["withstood"])
    return done


def _ours(
    flag_values: flags.FlagValues, task: Task, part: Part, output_dir: Path
) -> dict[str, Any]:
    """The content of our results.json; the evaluation resumes where it stopped, or is there.

    Parts with the same attacks share it.
    """
    from fsgan_tf.reporting import manifest

    alone = "" if part.cumulative else "_standalone"
    folder = output_dir / f"ours_{'_'.join(part.names)}{alone}{_suffix(task.norm)}"
    file = folder / "results.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    made_with = {
        **{name: results.get(name) for name in _asked(task)},
        **results.get("threat_model", {}),
        "attacks": tuple(attack["name"] for attack in results.get("attacks", ())),
        "commit": results.get("versions", {}).get("commit"),
    }
    if made_with == {**_asked(task), "attacks": part.names, "commit": manifest.commit()}:
        return results
    experiments.run_module(
        "fsgan_tf.evaluate",
        [
            f"--run_dir={flag_values.run_dir}",
            *([f"--data_dir={flag_values.data_dir}"] if flag_values.data_dir else []),
            f"--num_examples={flag_values.num_examples}",
            f"--seed={task.seed}",
            f"--norm={task.norm}",
            f"--epsilon={task.epsilon}",
            f"--batch_size={task.batch_size}",
            f"--output_dir={folder}",
            f"--attacks={','.join(part.names)}",
            *([] if part.cumulative else ["--standalone"]),
        ],
    )
    return json.loads(file.read_text())


def _asked(task: Task) -> dict[str, Any]:
    """What results must have been made with to be taken as they are, on both sides."""
    return {
        # A run that was trained on is another classifier.
        "classifier_sha256": task.restored.weights_sha256,
        "dataset_sha256": task.dataset_sha256,
        "num_examples": len(task.labels),
        "norm": task.norm,
        "epsilon": task.epsilon,
        "seed": task.seed,
    }


def _suffix(norm: str) -> str:
    """Of what is kept of a norm; l_inf has none, which is older than the others."""
    return "" if norm == "linf" else f"_{norm}"


def _folder_of(flag_values: flags.FlagValues, part: str) -> str:
    """The clone of a part that its flag names; nothing where it has none."""
    return (flag_values[part].value or "") if part in flag_values else ""


def _require_installed(name: str, part: Part, folder: str) -> None:
    for module in part.packages:
        if importlib.util.find_spec(module) is None:
            raise UserError(f"--parts={name} needs {module}; pip install -r requirements-peers.txt")
    if part.clone and not (Path(folder) / part.clone.file).is_file():
        raise UserError(
            f"--{name}={folder} is not a clone of its authors' code; get one by "
            f"`git clone https://github.com/{part.clone.repository} FOLDER`, or leave {name} out "
            "of --parts"
        )


def _commit(folder: str) -> str | None:
    """Of authors' code; None where the folder is no clone."""
    if not folder or not (Path(folder) / ".git").exists():
        return None
    command = ["git", "-C", folder, "rev-parse", "HEAD"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return told.stdout.strip() or None


def _version(pip_name: str) -> str:
    return importlib.metadata.version(pip_name)


_PGD_AND_CW = ("pgd20", "cw20")
_PARTS = {
    "foolbox": Part({"foolbox": "foolbox"}, libraries.foolbox, _PGD_AND_CW, False, 1.0),
    "art": Part(
        {"art": "adversarial-robustness-toolbox"}, libraries.art, _PGD_AND_CW, False, 1.0, ("linf",)
    ),
    "auto_attack": Part(
        {"torch": "torch"},
        auto_attack.attacks,
        ("apgd_ce", "apgd_t", "fab_t", "square"),
        True,
        0.5,
        clone=Clone("fra31/auto-attack", "autoattack/autoattack.py"),
    ),
    "pma": Part(
        {"torch": "torch", "tqdm": "tqdm"},
        pma.attacks,
        ("pma",),
        False,
        0.5,
        ("linf",),
        Clone("xieyong0/PMA", "attacks/MD.py"),
    ),
    "a3": Part(
        {"torch": "torch", "pandas": "pandas", "tqdm": "tqdm"},
        a3.attacks,
        ("a3",),
        False,
        0.5,
        ("linf",),
        Clone("liuye6666/adaptive_auto_attack", "Adaptive_Auto_Attack_main.py"),
    ),
}
_DEFAULT_PARTS = ["foolbox", "art", "auto_attack"]


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run_dir", None, "Run whose classifier is attacked.", flag_values=values)
    flags.DEFINE_string("data_dir", None, "Folder of TFDS data.", flag_values=values)
    for name, part in _PARTS.items():
        if part.clone:
            text = f"Clone of {part.clone.repository}."
            flags.DEFINE_string(name, None, text, flag_values=values)
    text = f"Peers to compare with, of {', '.join(_PARTS)}."
    flags.DEFINE_list("parts", _DEFAULT_PARTS, text, flag_values=values)
    flags.DEFINE_integer(
        "num_examples", 1000, "Attack the first N test images.", 1, flag_values=values
    )
    flags.DEFINE_enum(
        "norm",
        None,
        list(norms.NAMES),
        "That measures perturbations; that of the training by default.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "epsilon",
        None,
        "Radius; that of the training by default, where the norm is its norm.",
        flag_values=values,
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
