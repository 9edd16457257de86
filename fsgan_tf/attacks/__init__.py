"""Attacks, and the engine that measures robust accuracy with them.

As a library:

    from fsgan_tf.attacks import evaluate, suite
    from fsgan_tf.threat_model import ThreatModel
    threat_model = ThreatModel(epsilon=8 / 255)
    result = evaluate(model, images, labels, threat_model, suite("quick", threat_model.epsilon))
    print(result.clean_accuracy, result.worst_case_accuracy, result.confidence_interval_95)
"""

from fsgan_tf.attacks.catalogue import by_names, suite
from fsgan_tf.attacks.transfer import Source
from fsgan_tf.evaluation.engine import Evaluator, evaluate
from fsgan_tf.evaluation.result import AttackResult, Check, Result

__all__ = [
    "AttackResult",
    "Check",
    "Evaluator",
    "Result",
    "Source",
    "by_names",
    "evaluate",
    "suite",
]
