"""Images of an earlier evaluation are judged anew; tests of the command have the rest."""

import numpy as np

from fsgan_tf.attacks.registry import by_names
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.saved_examples import SavedExamples
from fsgan_tf.threat_model import ThreatModel


def test_what_no_longer_fools_is_no_wrong_claim(honest, images, labels):
    wide = Evaluator(honest, ThreatModel(0.05), 24)
    found = wide.attack(images, labels, by_names(["pgd5"], 0.05)).examples
    assert len(found.indices)
    saved = SavedExamples("file", "", found.indices, found.images)
    for radius, fools in ((0.05, True), (0.001, False)):
        result = Evaluator(honest, ThreatModel(radius), 24).attack(images, labels, [saved])
        (attack,) = result.attacks
        assert not attack.refused.any()
        np.testing.assert_array_equal(np.flatnonzero(attack.fooled), found.indices if fools else [])
