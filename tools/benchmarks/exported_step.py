"""A training step as one XLA program in a file, and what runs it where there is no TensorFlow.

`export` is for where TensorFlow is. The rest needs NumPy and JAX alone (0.11.2, of which it uses
parts that are not public) and runs the program on JAX's first device. The program is the one that
`--jit_compile=true` has XLA compile, of the same operations on a GPU; the XLA that compiles it then
is JAX's.
"""

import dataclasses
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsgan_tf.errors import UserError
from fsgan_tf.runs.configuration import TrainingConfiguration

if TYPE_CHECKING:
    from fsgan_tf.methods.base import TrainingMethod
    from fsgan_tf.methods.parts.batches import Batch

_PROGRAM, _DESCRIPTION = "step.stablehlo", "step.json"
# Which input each assigned variable is, as TensorFlow's module says it.
_ALIAS = re.compile(r"parameter_number = (\d+) : i64}, output_index = array<i64: (\d+)>")


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
        depth=values.classifier.classifier_depth,
        width=values.classifier.classifier_width,
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
        import jax

        # The step counter is int64.
        jax.config.update("jax_enable_x64", True)
        self._device = jax.devices()[0]
        self._program, self._assigned = _for_jax(program)
        self._values: list[Any] = []

    def compile(self) -> None:
        """Compiles the program; `seconds` and `bytes` then say what it takes."""
        from jaxlib import _jax, xla_client

        begin = time.perf_counter()
        self._executable = self._device.client.compile_and_load(
            self._program, _jax.DeviceList((self._device,)), xla_client.CompileOptions()
        )
        self.seconds = time.perf_counter() - begin
        stats = self._executable.get_compiled_memory_stats()
        self.bytes = (
            stats.argument_size_in_bytes
            + stats.output_size_in_bytes
            + stats.temp_size_in_bytes
            - stats.alias_size_in_bytes
        )

    def reset(self) -> None:
        """Draws every input anew."""
        import jax

        parameters = self.description.parameters
        self._values = [
            jax.device_put(parameter.draw(index), self._device)
            for index, parameter in enumerate(parameters)
        ]

    def run(self, count: int) -> list[float]:
        """Takes `count` steps, waits for them and returns the mean loss after each."""
        reports = [self._step() for _ in range(count)]
        return [float(report[self.description.loss]) for report in reports]

    def _step(self) -> Any:
        outputs = self._executable.execute(self._values)
        for index, output in self._assigned.items():
            self._values[index] = outputs[output]
        return outputs[0]

    def free(self) -> None:
        """Lets the device's memory go."""
        self._values = []


def _for_jax(program: bytes) -> tuple[bytes, dict[int, int]]:
    """The module in operations that every backend of JAX takes.

    Args:
      program: TensorFlow's module.

    Returns:
      The module, and of each variable that it assigns the position among the inputs and, with the
      new value, among the outputs. An input that is assigned gives its memory to the output.
    """
    from jax._src.interpreters import mlir
    from jaxlib.mlir import ir

    with mlir.make_ir_context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True
        module = ir.Module.parse(program)
        _without_copies(module.operation)
        attributes = module.operation.attributes
        aliases = _ALIAS.findall(str(attributes["mhlo.input_output_alias"]))
        assigned = {int(index): int(output) for index, output in aliases}
        # The module's own attribute is not heard by every backend.
        del attributes["mhlo.input_output_alias"]
        main = next(one for one in module.body.operations if str(one.name) == '"main"')
        number = ir.IntegerType.get_signless(32)
        main.attributes["arg_attrs"] = ir.ArrayAttr.get(
            [
                ir.DictAttr.get(
                    {"tf.aliasing_output": ir.IntegerAttr.get(number, assigned[index])}
                    if index in assigned
                    else {}
                )
                for index in range(len(main.arguments))
            ]
        )
        return mlir.module_to_bytecode(module), assigned


def _without_copies(operation: Any) -> None:
    """Takes out copies, an operation of MHLO, which only XLA's own CPU client reads."""
    for block in (block for region in operation.regions for block in region.blocks):
        for one in list(block.operations):
            if one.operation.name == "mhlo.copy":
                one.operation.results[0].replace_all_uses_with(one.operation.operands[0])
                one.operation.erase()
            else:
                _without_copies(one.operation)


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
