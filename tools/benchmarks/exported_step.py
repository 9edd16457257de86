"""A training step as one XLA program in a file, and what times it where there is no TensorFlow.

`export` is for where TensorFlow is. The rest needs NumPy and JAX alone. The program is the one that
`--jit_compile=true` has XLA compile; the XLA that compiles it then is JAX's.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from exported.program import Program

from fsgan_tf.errors import UserError
from fsgan_tf.runs.configuration import TrainingConfiguration

if TYPE_CHECKING:
    from fsgan_tf.methods.base import TrainingMethod
    from fsgan_tf.methods.parts.batches import Batch

_PROGRAM, _DESCRIPTION = "step.stablehlo", "step.json"


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One input of the program: an image batch, labels or a variable.

    Its values are drawn anew, from the same seed wherever the step runs, so that gigabytes of
    weights need not travel.

    Attributes:
      shape: of the array.
      dtype: NumPy's name of it.
      distribution: `uniform` or `normal`.
      arguments: its bounds; its mean and standard deviation.
    """

    shape: tuple[int, ...]
    dtype: str
    distribution: str
    arguments: tuple[float, float]

    def draw(self, index: int) -> np.ndarray:
        """The values of the program's `index`-th input."""
        random = np.random.default_rng(index)
        draw = getattr(random, self.distribution)
        return draw(*self.arguments, self.shape).astype(self.dtype)


@dataclasses.dataclass(frozen=True)
class Description:
    """What is known of an exported step.

    Attributes:
      method: name of the training method.
      precision: dtype policy.
      depth: of the classifier, a Wide ResNet.
      width: of the classifier.
      batch_size: images a step.
      gigaflops: operations an image that the algorithm needs, in 10^9.
      loss: position of the loss in the reports, the program's first output.
      losses: the mean loss after each of the first steps, as TensorFlow computed it; may be empty.
      parameters: the program's inputs.
    """

    method: str
    precision: str
    depth: int
    width: int
    batch_size: int
    gigaflops: float
    loss: int
    losses: list[float]
    parameters: list[Parameter]


def export(
    method: "TrainingMethod", values: "TrainingConfiguration", reference_steps: int, folder: Path
) -> None:
    """Writes the program of a whole step and its description.

    Args:
      method: built from `values`; its variables take the drawn values.
      values: training flags.
      reference_steps: how many steps are run here for their losses.
      folder: to write to; an older step there is replaced.
    """
    import tensorflow as tf

    from benchmarks import training
    from fsgan_tf.files import make_folder, write_atomically

    classifier = method.networks["classifier"]
    image_shape, num_classes = classifier.input_shape[1:], classifier.output_shape[-1]
    batch = (
        Parameter((values.training.batch_size, *image_shape), "float32", "uniform", (0, 1)),
        Parameter((values.training.batch_size,), "int32", "uniform", (0, num_classes)),
    )
    images, labels = (tf.constant(one.draw(index)) for index, one in enumerate(batch))
    data = {"image": images, "label": labels}

    def packed_step(data: "Batch") -> tf.Tensor:
        return method.pack(method.train_step(data))

    step = tf.function(packed_step, autograph=False, jit_compile=True)
    concrete = step.get_concrete_function(data)
    by_handle = {id(variable.handle): variable for variable in concrete.graph.variables}
    variables = [by_handle[id(handle)] for handle in concrete.captured_inputs]
    parameters = [*batch, *(_parameter_of(variable.numpy()) for variable in variables)]
    for index, variable in enumerate(variables, len(batch)):
        variable.assign(parameters[index].draw(index))
    program = step.experimental_get_compiler_ir(data)("stablehlo_serialized")
    loss = method.reports.index("loss")
    description = Description(
        method=values.training.method,
        precision=values.training.precision,
        depth=values.values()["classifier_depth"],
        width=values.values()["classifier_width"],
        batch_size=values.training.batch_size,
        gigaflops=training.gigaflops(method),
        loss=loss,
        losses=[float(step(data)[loss]) for _ in range(reference_steps)],
        parameters=parameters,
    )
    make_folder(folder, "results")
    write_atomically(folder / _PROGRAM, program)
    content = json.dumps(dataclasses.asdict(description))
    write_atomically(folder / _DESCRIPTION, content.encode())


def _parameter_of(value: np.ndarray) -> Parameter:
    """Normal values of the same mean and deviation; a constant stays itself."""
    spread = (float(np.mean(value)), float(np.std(value)))
    return Parameter(tuple(value.shape), value.dtype.name, "normal", spread)


class ExportedStep:
    """An exported step on JAX's first device; variables stay there."""

    def __init__(self, folder: Path):
        """Reads the files; in one thread at a time, as MLIR's modules want it.

        Raises:
          UserError: `folder` holds no exported step.
        """
        try:
            content = json.loads((folder / _DESCRIPTION).read_text())
            parameters = [Parameter(**one) for one in content.pop("parameters")]
            self.description = Description(**content, parameters=parameters)
            program = (folder / _PROGRAM).read_bytes()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{folder} holds no exported step; write one with `python "
                f"tools/benchmark_exported.py export` ({error})"
            ) from error
        self.program = Program(program)
        self._values: list[Any] = []

    def reset(self) -> None:
        """Draws every input anew."""
        import jax

        parameters = self.description.parameters
        self._values = [
            jax.device_put(parameter.draw(index)) for index, parameter in enumerate(parameters)
        ]

    def run(self, count: int) -> list[float]:
        """Takes `count` steps, waits for them and returns the mean loss after each."""
        reports = [self._step() for _ in range(count)]
        return [float(report[self.description.loss]) for report in reports]

    def _step(self) -> Any:
        return self.program.run(self._values)

    def free(self) -> None:
        """Lets the device's memory go."""
        self._values = []


def matrix_product(precision: str, size: int) -> tuple[Callable[[], None], float]:
    """A square product on JAX's first device, and its operations in 10^9.

    float32 is multiplied as JAX does by default: as TensorFloat-32 where the device has it.
    """
    import jax

    dtype = precision.removeprefix("mixed_")
    matrix = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    multiply = jax.jit(lambda x: x @ x)

    def run() -> None:
        products = [multiply(matrix) for _ in range(10)]
        products[-1].block_until_ready()

    return run, 10 * 2 * size**3 / 1e9
