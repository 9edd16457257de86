"""Pages made of the templates beside this file. Imports no TensorFlow.

Jinja2 escapes every word from outside.
"""

import re
from typing import Any

import jinja2
import markupsafe

# Of a long word: what ends in separators, or 16 characters of anything.
_PIECE = r"[^/_=,.-]{1,16}[/_=,.-]*|[/_=,.-]+"
_LONG = 25


def render(template: str, **content: Any) -> str:
    """A template of the folder `templates`, filled in."""
    return _environment().get_template(template).render(**content)


def markup(chart: str) -> markupsafe.Markup:
    """A chart, which escaped its own words."""
    return markupsafe.Markup(chart)  # noqa: S704


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fsgan_tf.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["with_flags"] = _with_flags
    environment.filters["breakable"] = _breakable
    return environment


def _with_flags(text: str) -> markupsafe.Markup:
    """Flags look like code, and no line ends within one."""
    escaped = str(markupsafe.escape(text))
    return markupsafe.Markup(re.sub(r"--[\w=]+", r'<code class="flag">\g<0></code>', escaped))  # noqa: S704


def _breakable(text: str) -> markupsafe.Markup:
    """A word of over 24 characters may end a line after a separator, or each 16 characters.

    The name of a flag never does, though browsers end lines after hyphens.
    """
    parts = re.split(r"(\S+)", text)
    return markupsafe.Markup("").join([*map(_breakable_word, parts)])


def _breakable_word(word: str) -> markupsafe.Markup:
    flag = match[0] if (match := re.match(r"'?--\w+=?", word)) else ""
    kept = markupsafe.Markup('<span class="flag">{}</span>').format(flag) if flag else ""
    rest = [word[len(flag) :]]
    if len(word) >= _LONG:
        rest = re.findall(_PIECE, rest[0])
    return markupsafe.Markup("<wbr>").join([*([kept] if flag else []), *rest])
