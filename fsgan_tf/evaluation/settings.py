"""How a classifier is attacked, and with what. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses

from fsgan_tf import norms, settings
from fsgan_tf.attacks import registry, suites
from fsgan_tf.settings import parse_names, parse_numbers, setting

STRATEGIES = ("auto", "one_device", "mirrored")
# How much is checked after the attacks.
CHECKS = ("full", "fast", "none")


def _fault_of_radii(radii: tuple[float, ...]) -> str | None:
    if len(set(radii)) < 2:
        return "must be at least two different radii; for one give --epsilon"
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(settings.Settings):
    """Attacks, threat model, seed and devices of an evaluation."""

    def __post_init__(self) -> None:
        """Also checks epsilon in its norm, as far as that is given; else a run may say it."""
        super().__post_init__()
        if self.epsilon is not None and self.epsilons is not None:
            raise ValueError("--epsilon and --epsilons both say the radius; give one of them")
        for radius in self.radii:
            if fault := norms.radius_fault(self.norm, radius):
                flag = "epsilon" if self.epsilons is None else "epsilons"
                raise ValueError(f"--{flag}={radius:g}: {fault}")

    suite: str = setting("quick", "Which list of attacks to run.", choices=tuple(suites.SUITES))
    attacks: tuple[str, ...] | None = setting(
        None,
        f"Attacks by name instead of --suite, with a number for N: {registry.described()}.",
        parse=parse_names,
        noun="names of attacks separated by commas, such as fgsm,pgd20",
    )
    source: tuple[str, ...] = setting(
        (),
        "Classifiers that transfer attacks make their images against, and that the checks "
        "compare with: run directories, SavedModels or .keras files. A run of "
        "--method=standard serves the checks as the undefended classifier.",
        parse=parse_names,
        noun="paths separated by commas",
    )
    verify_examples: str | None = setting(
        None, "Before any attack, try the images of this file, which --save_examples wrote."
    )
    standalone: bool | None = setting(
        None,
        "Run every attack on every image, for accuracies that can be compared between papers, as "
        "--suite=paper_white_box does by default; elsewhere an attack sees only the images that no "
        "attack before it fooled.",
    )
    checks: str = setting(
        "full",
        "Which checks say whether the figure can be believed. full: all; fast: those that attack "
        "nothing anew, so that nothing says whether more steps, restarts, black-box attacks, noise "
        "or larger radii would find more; none: no check. Only full can call a figure "
        "trustworthy.",
        choices=CHECKS,
    )
    norm: str | None = setting(
        None,
        "Norm that measures perturbations, each with its own --epsilon; that of the training, or "
        "linf, by default.",
        choices=norms.NAMES,
    )
    epsilon: float | None = setting(
        None,
        "Radius of the ball of perturbations: in linf the largest change of a pixel, on the scale "
        "of [0,1], such as 8/255; in l2 and l1 the norm of all changes, such as 0.5 and 12 for "
        "images of CIFAR-10. That of the training by default.",
        above=0,
        fraction=True,
    )
    epsilons: tuple[float, ...] | None = setting(
        None,
        "Several radii instead of --epsilon, such as 2/255,4/255,8/255, in one table and one "
        "curve; faster than as many evaluations.",
        parse=parse_numbers,
        noun="numbers or fractions separated by commas, such as 2/255,4/255,8/255",
        check=_fault_of_radii,
    )
    eot: int | None = setting(
        None,
        "Measure a classifier whose answers differ from call to call: average every gradient and "
        "loss over so many calls, and let most of many calls judge each image. --suite=random "
        "takes 20 by default.",
        lower=1,
    )
    batch_size: int = setting(128, "Images attacked together on a device.", lower=1)
    seed: int = setting(0, "Seed of the random starts.", lower=0)
    strategy: str = setting(
        "auto",
        "Devices that share the batches. auto: all GPUs, or one device where there is none; "
        "mirrored: all GPUs, or all logical CPUs where there is none.",
        choices=STRATEGIES,
    )
    deterministic: bool = setting(
        False,
        "Compute the same bits from the same seed on the same machine; docs/reliability.md "
        "says what this covers and costs.",
    )
    dry_run: bool = setting(
        False, "Say how many images and passes, and how long it would take here, then stop."
    )

    @property
    def radii(self) -> tuple[float, ...]:
        """Those that are given, the largest first."""
        one = () if self.epsilon is None else (self.epsilon,)
        return tuple(sorted(set(self.epsilons or one), reverse=True))

    @property
    def averages_over(self) -> int | None:
        """Calls that gradients are averaged over, as the flag or else the suite has it."""
        return suites.averages_over(self._suite, self.eot)

    @property
    def runs_standalone(self) -> bool:
        """Whether every attack sees every image: as asked for, else as the suite has it."""
        return suites.runs_standalone(self._suite, self.standalone)

    @property
    def _suite(self) -> str | None:
        """The suite's name, None where attacks are named instead."""
        return None if self.attacks is not None else self.suite
