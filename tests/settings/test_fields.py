"""Settings: bounds and texts."""

import dataclasses

import pytest

from fsgan_tf import settings
from fsgan_tf.errors import UserError
from fsgan_tf.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base(settings.Settings):
    rate: float = setting(0.5, "A rate.", above=0, upper=1, fraction=True)
    steps: int = setting(3, "Steps.", lower=1, upper=9)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derived(Base):
    steps: int = 7
    kind: str = setting("plain", "A kind.", choices=("plain", "other"))
    epochs: tuple[int, ...] = setting((4, 5), "Epochs.")
    size: int | None = setting(None, "A size.", lower=8)
    quick: bool = setting(False, "Whether.")
    radii: tuple[float, ...] = setting((0.5, 0.25), "Radii.", parse=settings.parse_numbers)


def test_a_subclass_changes_a_default_and_keeps_bounds_and_help():
    (steps,) = [field for field in settings.fields_of(Derived) if field.name == "steps"]
    assert (steps.default, steps.setting.help, steps.setting.upper) == (7, "Steps.", 9)
    assert Derived().steps == 7
    assert Base().steps == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rate": 0.0}, "rate is 0.0; it must be above 0 and at most 1"),
        ({"rate": 2.0}, "rate is 2.0; it must be at most 1"),
        ({"rate": float("nan")}, "rate is nan; it must be a finite number"),
        ({"radii": (0.5, float("inf"))}, "radii is (0.5, inf); it must be finite numbers"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"steps": 10}, "at most 9"),
        ({"steps": 1.5}, "steps is 1.5; it must be a whole number"),
        ({"steps": True}, "whole number"),
        ({"kind": "odd"}, "kind is 'odd'; it must be one of plain, other"),
        ({"quick": 1}, "true or false"),
        ({"size": 7}, "at least 8"),
    ],
)
def test_settings_out_of_bounds_are_refused_in_one_line(given, words):
    with pytest.raises(ValueError, match="^[^\n]+$") as error:
        Derived(**given)
    assert words in str(error.value)


def test_texts_are_read_back():
    chosen = Derived(rate=1 / 3, steps=2, kind="other", epochs=(60, 90), size=9, quick=True)
    texts = {
        field.name: field.text(getattr(chosen, field.name)) for field in settings.fields_of(Derived)
    }
    assert settings.from_text(Derived, texts) == chosen


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("steps", "two", "--steps=two: must be a whole number"),
        ("rate", "8/0", "--rate=8/0: must be a number or a fraction such as 8/255"),
        ("rate", "1e999", "--rate=1e999: must be a finite number"),
        ("epochs", "60;90", "whole numbers separated by commas, such as 60,90"),
        ("quick", "maybe", "must be true or false"),
        ("kind", "odd", "must be one of plain, other"),
    ],
)
def test_texts_that_stand_for_nothing_name_the_flag(name, text, words):
    with pytest.raises(UserError) as error:
        settings.from_text(Derived, {name: text})
    assert words in str(error.value)
