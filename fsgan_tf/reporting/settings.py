"""What an evaluation writes and how it ends. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses

from fsgan_tf import settings
from fsgan_tf.settings import parse_names, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportSettings(settings.Settings):
    """Where the results go, in which form, and which verdicts are refused."""

    compare: tuple[str, ...] | None = setting(
        None,
        "Evaluate nothing, but show these results side by side, with the intervals of their "
        "differences: --compare RESULT RESULT ..., each a results.json or its folder. With "
        "--output_dir, report.md and report.html are written there.",
        parse=parse_names,
        noun="results.json files or their folders",
    )
    output_dir: str | None = setting(None, "Where results go; RUN_DIR/evaluation by default.")
    format: str | None = setting(
        None,
        "Also write robustbench.json, an entry in RobustBench's form.",
        choices=("robustbench",),
    )
    save_examples: bool = setting(
        False, "Write the adversarial images to OUTPUT_DIR/adversarial_examples.npz."
    )
    fail_on: str | None = setting(
        None,
        "End with exit code 3 where a check fails (fail), or where the verdict is not "
        "`trustworthy`, which takes the strong or the strongest suite (warn). The results are "
        "written all the same.",
        choices=("fail", "warn"),
    )
