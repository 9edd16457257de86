"""Measures robust accuracy, and says whether the figure can be believed.

As a library:

    from fsgan_tf.evaluation.run_and_diagnose import evaluate

    result = evaluate(model, images, labels, epsilon=8 / 255, suite="quick")
    print(result.clean_accuracy, result.worst_case_accuracy, result.confidence_interval_95)
"""
