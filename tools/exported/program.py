"""XLA programs that TensorFlow made, on JAX's first device.

Needs NumPy and JAX alone: 0.11.2, of which it uses parts that are not public.
"""

import re
import time
from typing import Any

# Which input each assigned variable is, as TensorFlow's module says it.
_ALIAS = re.compile(r"parameter_number = (\d+) : i64}, output_index = array<i64: (\d+)>")


class Program:
    """A program whose first output is its result, and whose others are variables that it assigns.

    Attributes:
      seconds: that compiling took; 0 before.
      bytes: of device memory that a run takes; 0 before it is compiled.
    """

    def __init__(self, program: bytes):
        """Reads the module; in one thread at a time, as MLIR's modules want it.

        Args:
          program: StableHLO, serialised, as TensorFlow's `experimental_get_compiler_ir` has it.
        """
        import jax

        # Step counters are int64.
        jax.config.update("jax_enable_x64", True)
        self._device = jax.devices()[0]
        self._program, self._assigned = _for_jax(program)
        self._executable: Any = None
        self.seconds, self.bytes = 0.0, 0

    def compile(self) -> None:
        """Compiles the program; threads may compile several at once."""
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

    def run(self, values: list[Any]) -> Any:
        """Runs the program once, without waiting for it.

        Args:
          values: the inputs, arrays on the device; those that are assigned are replaced.

        Returns:
          The program's result, on the device.
        """
        outputs = self._executable.execute(values)
        for index, output in self._assigned.items():
            values[index] = outputs[output]
        return outputs[0]


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
