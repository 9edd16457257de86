"""What a file declares, read without importing it."""

import importlib

import pytest

from fsgan_tf import methods, settings
from fsgan_tf.networks import classifiers
from fsgan_tf.settings.declarations import declared_in

REGISTRIES = [
    *((methods, name) for name in methods.names()),
    *((classifiers, name) for name in classifiers.names()),
]


@pytest.mark.parametrize(("registry", "name"), REGISTRIES, ids=lambda value: str(value)[:20])
def test_what_a_file_declares_is_what_its_import_gives(registry, name):
    declared = registry.declared(name)
    module = importlib.import_module(f"{registry.__name__}.{name}")
    imported = getattr(module, "Settings", settings.Settings)
    ours, theirs = (settings.fields_of(cls) for cls in (declared.settings, imported))
    shown = [(f.name, f.type, f.default, f.setting.help, f.setting.upper) for f in ours]
    assert shown == [(f.name, f.type, f.default, f.setting.help, f.setting.upper) for f in theirs]
    assert declared.summary == module.__doc__.partition("\n")[0]
    for constant, value in declared.constants.items():
        assert getattr(module, constant) == value
    for constant, target in declared.names.items():
        assert getattr(module, constant) is getattr(module, target)


def test_only_the_settings_of_a_file_are_run(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        '"""Mine."""\n'
        "import dataclasses\n"
        "import no_such_module\n"
        "from fsgan_tf import settings\n"
        "LIMIT = 5\n"
        "METHOD = None\n"
        "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
        "class Settings(settings.Settings):\n"
        "    steps: int = settings.setting(2, 'Steps.', upper=LIMIT)\n"
        "raise SystemExit\n"
    )
    declared = declared_in(file)
    assert declared.settings().steps == 2
    assert declared.constants["LIMIT"] == 5
    with pytest.raises(ValueError, match="at most 5"):
        declared.settings(steps=6)
