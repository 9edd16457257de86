import re
import textwrap
from pathlib import Path

from fsgan_tf import attacks

README = Path(__file__).parents[2] / "README.md"


def test_the_documented_lines_run(honest, images, labels, capsys):
    lines = textwrap.dedent(attacks.__doc__.split("As a library:\n")[1]).strip()
    in_readme = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    assert lines.splitlines() == [line for line in in_readme.splitlines() if line]
    names = {"model": honest, "images": images, "labels": labels}
    exec(lines, names)
    clean, worst, *_ = capsys.readouterr().out.split(" ")
    assert 1 >= float(clean) > float(worst) >= 0
    assert isinstance(names["result"], attacks.Result)
