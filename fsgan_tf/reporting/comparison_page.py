"""A comparison as report.md and report.html. Imports no TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

from fsgan_tf.errors import UserError
from fsgan_tf.files import make_folder, write_atomically
from fsgan_tf.reporting import bars, comparison, templating
from fsgan_tf.reporting.comparison import Entry
from fsgan_tf.reporting.markdown import escaped, table

_TITLE = "Robustness, side by side"


def write(output_dir: Path, entries: Sequence[Entry]) -> list[Path]:
    """Writes report.md and report.html, each complete or not at all.

    Raises:
      UserError: the folder cannot be made, or holds the report of an evaluation.
    """
    if (output_dir / "results.json").exists():
        raise UserError(
            f"{output_dir} holds an evaluation, whose report would be lost; give another "
            "--output_dir"
        )
    make_folder(output_dir, "output_dir")
    texts = {"report.md": markdown_text(entries), "report.html": html_text(entries)}
    for name, text in texts.items():
        write_atomically(output_dir / name, text.encode())
    return [output_dir / name for name in texts]


def markdown_text(entries: Sequence[Entry]) -> str:
    """The content of report.md; words from outside stay words."""
    told = [*comparison.unlike(entries), *map(str, comparison.differences(entries))]
    sections = [
        f"# {_TITLE}",
        table(comparison.header(entries), comparison.rows(entries)),
        comparison.note(entries),
        "## Differences of the worst case",
        "\n".join(f"- {escaped(sentence)}" for sentence in told),
        "## Results",
        table(("result", "classifier", "file"), _files(entries), code_column=2),
    ]
    return "\n\n".join(sections) + "\n"


def html_text(entries: Sequence[Entry]) -> str:
    """The content of report.html: a complete HTML 5 document."""
    return templating.render(
        "comparison.html",
        title=_TITLE,
        chart=templating.markup(chart(entries)),
        header=comparison.header(entries),
        rows=comparison.rows(entries),
        note=comparison.note(entries),
        unlike=comparison.unlike(entries),
        differences=comparison.differences(entries),
        files=_files(entries),
    )


def chart(entries: Sequence[Entry]) -> str:
    """Each result's clean and worst-case accuracy, with the interval, as inline SVG."""
    drawn = []
    for entry in entries:
        content = entry.content
        count = entry.num_examples
        drawn.append(bars.Bar("clean", f"{entry.name}: clean", content["clean_accuracy"], count))
        drawn.append(
            bars.Bar(
                "worst",
                f"{entry.name}: worst case",
                content["worst_case_accuracy"],
                count,
                comparison.interval(entry),
            )
        )
    return bars.chart("Accuracy without attack and in the worst case, of each result", drawn)


def _files(entries: Sequence[Entry]) -> list[tuple[str, str, str]]:
    return [(entry.name, entry.model, str(entry.file)) for entry in entries]
