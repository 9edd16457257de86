"""A small result for tests of the reports, and a reader of the page."""

import dataclasses
from html.parser import HTMLParser

import numpy as np

from fsgan_tf.evaluation.result import Result
from fsgan_tf.reporting.report import Manifest
from fsgan_tf.results.findings import (
    AdversarialExamples,
    AttackResult,
    Check,
    Diagnosis,
    EpsilonCurve,
    LossCurve,
)
from fsgan_tf.threat_model import ThreatModel

HOSTILE = "<script>alert('&')</script>\"><img src=x>|`x` [a](b:c)"
MANIFEST = Manifest(
    model="runs/a",
    dataset="digits",
    split="test",
    dataset_sha256="cd" * 32,
    class_names=("zero", "one", "two"),
    classifier_sha256="ab" * 32,
    command="python -m fsgan_tf.evaluate --run_dir='runs/a b'",
    sources=("runs/b: standard, seed 1",),
    suite="quick",
    date="2026-11-27 09:30 UTC",
)
EPSILON_CURVE = EpsilonCurve("pgd20", (0.0, 2 / 255, 8 / 255, 0.5), (0.95, 0.9, 0.75, 0.0), 32)
LOSS_CURVES = (LossCurve("pgd4", (0.5, 1.5, 2.0, 2.25, 2.5)), LossCurve("cw2", (-3.0, 1.0, 1.0)))
_VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}


def result(*verdicts, curves=True, examples=None):
    """Of 40 images 38 are clean, 30 withstand pgd20 and 25 withstand square as well."""
    index = np.arange(40)
    checks = tuple(
        Check(f"check_{number}", verdict, f"Detail {number}.", f"Advice {number}.")
        for number, verdict in enumerate(verdicts)
    )
    diagnosis = Diagnosis(checks, EPSILON_CURVE, LOSS_CURVES) if curves else Diagnosis(checks)
    return Result(
        ThreatModel(8 / 255),
        seed=3,
        clean_correct=index < 38,
        attacks=(
            _attack("pgd20", index >= 30, 0.75, standalone=True),
            _attack("square", (index >= 25) & (index < 30), 0.625, standalone=False),
        ),
        examples=adversarial_examples([0, 1, 2]) if examples is None else examples,
        diagnosis=diagnosis,
        labels=index % 4,
    )


def hostile_result():
    """All that can come from outside is hostile."""
    plain = result("fail")
    check = Check(HOSTILE, "fail", HOSTILE, HOSTILE)
    curve = dataclasses.replace(EPSILON_CURVE, attack=HOSTILE)
    attack = dataclasses.replace(
        plain.attacks[0], name=HOSTILE, parameters={HOSTILE: HOSTILE, "source": HOSTILE}
    )
    examples = dataclasses.replace(plain.examples, attacks=(HOSTILE,) * 3)
    return dataclasses.replace(
        plain,
        attacks=(attack,),
        examples=examples,
        diagnosis=Diagnosis((check,), curve, (LossCurve(HOSTILE, (0.0, 1.0)),)),
    )


def hostile_manifest():
    """The same of the manifest."""
    words = [HOSTILE] * 4
    return Manifest(*words, (HOSTILE,) * 3, HOSTILE, HOSTILE, (HOSTILE,), HOSTILE, HOSTILE)


def adversarial_examples(labels, shape=(2, 4, 1)):
    """uint8 images of these classes, all 51, and their adversarial images, half of 8/255 darker.

    Each is taken for the class after its own.
    """
    labels = np.array(labels, np.int32)
    clean = np.full((len(labels), *shape), 51, np.uint8)
    images = np.full(clean.shape, 47 / 255, np.float32)
    return AdversarialExamples(
        indices=10 + np.arange(len(labels)),
        attacks=("pgd20",) * len(labels),
        images=images,
        clean_images=clean,
        labels=labels,
        predictions=labels + 1,
    )


def _attack(name, fooled, accuracy, *, standalone):
    return AttackResult(
        name=name,
        parameters={"num_steps": 20, "step_size": 2 / 255},
        accuracy=accuracy,
        accuracy_8bit=accuracy + 0.025,
        standalone=standalone,
        seconds=1.25,
        fooled=fooled,
        fooled_8bit=fooled & (np.arange(len(fooled)) != 30),
        refused=np.zeros_like(fooled),
    )


@dataclasses.dataclass
class Element:
    """One element, and the text in it and below."""

    tag: str
    attributes: dict
    text: str = ""

    def has(self, tag, class_name):
        return self.tag == tag and class_name in self.attributes.get("class", "").split()


class Page(HTMLParser):
    """The elements in the order in which they start; fails on tags that do not balance."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs)
        self.elements.append(Element(tag, attributes))

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        for element in self.open:
            element.text += data

    def all(self, tag, class_name=None):
        found = [element for element in self.elements if element.tag == tag]
        return [element for element in found if class_name is None or element.has(tag, class_name)]

    def one(self, tag, class_name=None):
        (element,) = self.all(tag, class_name)
        return element
