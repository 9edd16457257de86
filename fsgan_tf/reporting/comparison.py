"""Several results.json side by side: what they say, and how sure their differences are.

Imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np

from fsgan_tf.errors import UserError
from fsgan_tf.reporting import results_file
from fsgan_tf.results import intervals


@dataclasses.dataclass(frozen=True)
class Entry:
    """One result.

    Attributes:
      name: what the comparison calls it, a letter.
      model: path of the classifier.
      file: where the result stands.
      content: of its results.json.
    """

    name: str
    model: str
    file: Path
    content: dict[str, Any]

    @property
    def num_examples(self) -> int:
        """How many images were evaluated."""
        return self.content["num_examples"]

    @property
    def attacks(self) -> dict[str, float]:
        """Accuracies by attack."""
        return {attack["name"]: attack["accuracy"] for attack in self.content["attacks"]}

    @property
    def robust(self) -> np.ndarray | None:
        """Bool `[n]`, the images that withstand every attack; None where the file does not say."""
        return results_file.per_image(self.content, "worst_case")


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much more robust one result is than another.

    Attributes:
      name: of the one.
      base: name of the other.
      points: difference of their worst-case accuracies, as a share.
      low: lower end of its 95% interval.
      high: upper end.
      pvalue: of McNemar's exact test where the images are paired; else None.
    """

    name: str
    base: str
    points: float
    low: float
    high: float
    pvalue: float | None

    def __str__(self) -> str:
        how = (
            "not paired"
            if self.pvalue is None
            else f"paired, image by image; McNemar's test: p = {self.pvalue:.2g}"
        )
        return (
            f"{self.name} less {self.base}: {100 * self.points:+.1f} points (95% interval "
            f"{100 * self.low:+.1f} to {100 * self.high:+.1f}; {how})"
        )


def read(paths: Sequence[str]) -> list[Entry]:
    """The results, in the order given.

    Args:
      paths: of results.json files, of their folders, or of runs that hold such a folder.

    Raises:
      UserError: fewer than two, or a path that holds no result.
    """
    if len(paths) < 2:
        raise UserError("--compare takes two results or more: --compare RESULT RESULT ...")
    if len(paths) > len(ascii_uppercase):
        raise UserError(f"--compare takes at most {len(ascii_uppercase)} results")
    found = []
    for letter, path in zip(ascii_uppercase, paths, strict=False):
        file = _file(path)
        content = results_file.read(file)
        if not content["num_examples"]:
            raise UserError(f"{file} contains no images; leave it out")
        found.append(Entry(letter, str(content.get("model") or file), file, content))
    return found


def differences(entries: Sequence[Entry]) -> list[Difference]:
    """Of each result to the first: paired where `unlike` has nothing to say of the two."""
    first, *others = entries
    return [_difference(first, other) for other in others]


def unlike(entries: Sequence[Entry]) -> list[str]:
    """Sentences on what is not the same in all results, so that their differences mean less."""
    first, *others = entries
    told = []
    for other in others:
        parts = [*_unlike_images(first, other), *_unlike_attacks(first, other)]
        if parts:
            told.append(f"{other.name} and {first.name} are not paired: {'; '.join(parts)}.")
    return told


def attack_names(entries: Sequence[Entry]) -> list[str]:
    """Every attack of any of them, in the order of the first that has it."""
    return list(dict.fromkeys(name for entry in entries for name in entry.attacks))


def rows(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """A row a result, under `header`."""
    return [
        (
            entry.name,
            str(entry.num_examples),
            _percent(entry.content["clean_accuracy"]),
            *(_percent(entry.attacks.get(name)) for name in attack_names(entries)),
            _percent(entry.content["worst_case_accuracy"]),
            "{:.1%} to {:.1%}".format(*interval(entry)),
            str(entry.content.get("verdict", "")),
        )
        for entry in entries
    ]


def header(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Of `rows`."""
    return (
        *("result", "images", "clean", *attack_names(entries)),
        *("worst case", "95% interval", "verdict"),
    )


def note(entries: Sequence[Entry]) -> str:
    """How to read the accuracies of the attacks."""
    alone = {attack.get("standalone") for e in entries for attack in e.content["attacks"][1:]}
    if alone <= {True}:
        return "Each attack's accuracy is of this attack alone."
    return (
        "An attack that is not stand-alone saw what withstood those before it, so that its column "
        "compares only where the same attacks came before; the worst case always does."
    )


def interval(entry: Entry) -> tuple[float, float]:
    """95% interval of the worst-case accuracy (Wilson)."""
    count = entry.num_examples
    return intervals.wilson_interval(round(entry.content["worst_case_accuracy"] * count), count)


def as_text(entries: Sequence[Entry]) -> str:
    """The comparison for a terminal: a line an accuracy, a column a result."""
    lines = [f"{entry.name}: {entry.model} ({entry.file})" for entry in entries]
    shown = list(zip(header(entries), *rows(entries), strict=True))
    widths = [max(len(row[place]) for row in shown) for place in range(len(shown[0]))]
    lines += [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in shown
    ]
    lines += [note(entries), *unlike(entries), *map(str, differences(entries))]
    return "\n".join(lines)


def _file(path: str) -> Path:
    candidates = [Path(path), Path(path, "results.json"), Path(path, "evaluation", "results.json")]
    for file in candidates:
        if file.is_file():
            return file
    raise UserError(f"{path} holds no results.json; give such a file, or the folder of one")


def _difference(first: Entry, other: Entry) -> Difference:
    before, after = first.robust, other.robust
    if before is None or after is None or unlike([first, other]):
        shares = [entry.content["worst_case_accuracy"] for entry in (first, other)]
        found = intervals.unpaired_difference(
            shares[0], first.num_examples, shares[1], other.num_examples
        )
        return Difference(other.name, first.name, *found, None)
    found = intervals.paired_difference(before, after)
    return Difference(other.name, first.name, *found, intervals.mcnemar(before, after))


def _unlike_images(first: Entry, other: Entry) -> list[str]:
    hashes = [entry.content.get("dataset_sha256") for entry in (first, other)]
    if hashes[0] != hashes[1] or first.num_examples != other.num_examples:
        return [f"other images ({_data(other)}, and {_data(first)})"]
    if not hashes[0]:
        return ["nothing says whether they are of the same images"]
    silent = [entry.name for entry in (first, other) if entry.robust is None]
    if not silent:
        return []
    do = "does" if len(silent) == 1 else "do"
    return [f"{' and '.join(silent)} {do} not say which images stood, and must be evaluated again"]


def _unlike_attacks(first: Entry, other: Entry) -> list[str]:
    models = [entry.content["threat_model"] for entry in (first, other)]
    parts = []
    if models[0].get("norm") != models[1].get("norm"):
        parts.append(f"norm {models[1].get('norm')}, and {models[0].get('norm')}")
    if models[0]["epsilon"] != models[1]["epsilon"]:
        parts.append(f"epsilon {models[1]['epsilon']:.5g}, and {models[0]['epsilon']:.5g}")
    attacks = [_attacks(entry) for entry in (first, other)]
    if attacks[0] != attacks[1]:
        names = [", ".join(attacks[place]) or "no attack" for place in (1, 0)]
        same = " (with other settings)" if names[0] == names[1] else ""
        parts.append(f"attacked by {names[0]}, and by {names[1]}{same}")
    draws = [_draws(entry) for entry in (first, other)]
    if draws[0] != draws[1]:
        texts = ["no --eot" if count is None else f"--eot={count}" for count in draws]
        parts.append(f"attacked with {texts[1]}, and with {texts[0]}")
    return parts


def _attacks(entry: Entry) -> dict[str, Any]:
    """What decides the worst case: every attack with its settings, whatever their order."""
    return {a["name"]: a.get("parameters") for a in entry.content["attacks"]}


def _draws(entry: Entry) -> Any:
    """Calls that every gradient is the mean of; None where answers do not differ."""
    found = entry.content.get("randomness")
    return found.get("draws_per_gradient") if isinstance(found, dict) else None


def _data(entry: Entry) -> str:
    parts = [entry.content.get("dataset"), entry.content.get("split"), str(entry.num_examples)]
    return " ".join(str(part) for part in parts if part)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
