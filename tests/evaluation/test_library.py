import re
import textwrap
from pathlib import Path

from fsgan_tf import evaluation
from fsgan_tf.evaluation.result import Result

README = Path(__file__).parents[2] / "README.md"


def test_the_documented_lines_run(honest, images, labels, capsys):
    lines = textwrap.dedent(evaluation.__doc__.split("As a library:\n")[1]).strip()
    assert lines in re.findall(r"```python\n(.*?)\n```", README.read_text(), re.DOTALL)
    names = {"model": honest, "images": images, "labels": labels}
    exec(lines, names)
    clean, worst, *_ = capsys.readouterr().out.split(" ")
    assert 1 >= float(clean) > float(worst) >= 0
    assert isinstance(names["result"], Result)
