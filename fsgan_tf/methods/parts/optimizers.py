"""Optimizers as PyTorch's: L2 coupled, and SGD's learning rate outside the momentum.

The reference codes train with `torch.optim.SGD` and `Adam`. Keras' SGD differs twice: its
`weight_decay` is decoupled from the gradient, and its velocity holds the learning rate, so that
steps after a learning-rate drop still carry the old rate.
"""

from typing import Any

import keras


class SGD(keras.optimizers.Optimizer):
    """buffer = momentum * buffer + gradient + l2 * variable; variable -= learning_rate * buffer.

    Source: torch.optim.SGD with dampening 0, no Nesterov. Under a distribution strategy L2 is
    added once, after the gradients of all replicas are summed.
    """

    def __init__(
        self,
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        l2: float = 0.0,
        l2_on: str = "all",
        name: str = "sgd",
        **kwargs: Any,
    ):
        """Args: `learning_rate`, `momentum` in [0, 1), `l2` coupled penalty, `l2_on`, `name`."""
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.l2 = l2
        self.l2_on = l2_on

    def build(self, variables: list) -> None:
        """Makes one momentum buffer a variable."""
        if self.built:
            return
        super().build(variables)
        self.momentum_buffers = self.add_optimizer_variables(variables, "momentum")

    def update_step(
        self, gradient: Any, variable: keras.Variable, learning_rate: keras.Variable
    ) -> None:
        """Updates one variable; called by `apply_gradients`."""
        buffer = self.momentum_buffers[self._get_variable_index(variable)]
        learning_rate = keras.ops.cast(learning_rate, variable.dtype)
        step = self.momentum * buffer + keras.ops.cast(gradient, variable.dtype)
        if has_penalty(variable, self.l2_on):
            step += self.l2 * variable
        self.assign(buffer, step)
        self.assign_sub(variable, learning_rate * step)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "l2": self.l2,
            "l2_on": self.l2_on,
        }


class Adam(keras.optimizers.Adam):
    """Adam of gradient + l2 * variable; betas 0.9 and 0.999.

    Source: torch.optim.Adam with its `weight_decay` and epsilon 1e-8. Deviation: Keras adds epsilon
    before it corrects the second moment's bias, PyTorch after.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        l2: float = 0.0,
        l2_on: str = "all",
        name: str = "adam",
        **kwargs: Any,
    ):
        """Args: `learning_rate`, `l2` coupled penalty, `l2_on`, `name`."""
        super().__init__(learning_rate=learning_rate, name=name, **{"epsilon": 1e-8, **kwargs})
        self.l2 = l2
        self.l2_on = l2_on

    def update_step(
        self, gradient: Any, variable: keras.Variable, learning_rate: keras.Variable
    ) -> None:
        """Updates one variable; called by `apply_gradients`."""
        penalised = keras.ops.cast(gradient, variable.dtype)
        if has_penalty(variable, self.l2_on):
            penalised += self.l2 * variable
        super().update_step(penalised, variable, learning_rate)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {**super().get_config(), "l2": self.l2, "l2_on": self.l2_on}


def has_penalty(variable: keras.Variable, l2_on: str) -> bool:
    """Whether the L2 penalty is on a variable.

    Args:
      variable: of a network.
      l2_on: `all`, or `kernels` for those of two dimensions or more, which biases and the gains of
        normalisation are not.
    """
    return l2_on == "all" or len(variable.shape) > 1


def build(
    kind: str,
    variables: list,
    *,
    learning_rate: float,
    momentum: float,
    l2: float,
    name: str,
    loss_scaling: bool,
    l2_on: str,
) -> keras.optimizers.Optimizer:
    """An optimizer built for its variables, as distribution strategies need it before training.

    Args:
      kind: `sgd`, `adam` or `adamw`; the last is Keras', with decoupled weight decay.
      variables: trainable Keras variables.
      learning_rate: initial.
      momentum: of `sgd`.
      l2: coupled penalty; the decoupled weight decay of `adamw`.
      name: prefix of the optimizer's own variables.
      loss_scaling: scales losses dynamically, which float16 gradients need.
      l2_on: `all` or `kernels`; see `has_penalty`.

    Returns:
      The optimizer; its `learning_rate` can be assigned between steps.
    """
    if kind == "adam":
        optimizer = Adam(learning_rate, l2, l2_on, name=name)
    elif kind == "adamw":
        optimizer = keras.optimizers.AdamW(learning_rate, l2, epsilon=1e-8, name=name)
        spared = [variable for variable in variables if not has_penalty(variable, l2_on)]
        if spared:
            optimizer.exclude_from_weight_decay(var_list=spared)
    else:
        optimizer = SGD(learning_rate, momentum, l2, l2_on, name=name)
    if loss_scaling:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, name=f"{name}_scaled")
    optimizer.build(variables)
    return optimizer


def built(given: Any, variables: list, *, loss_scaling: bool) -> keras.optimizers.Optimizer:
    """A user's optimizer, built for its variables.

    Args:
      given: an optimizer, its name or its configuration.
      variables: trainable Keras variables.
      loss_scaling: scales losses dynamically, which float16 gradients need.

    Raises:
      ValueError: it is built for other variables, or accumulates gradients.
    """
    optimizer = keras.optimizers.get(given)
    if getattr(optimizer, "gradient_accumulation_steps", None):
        raise ValueError(
            "gradient_accumulation_steps is not supported: random draws and schedules follow the "
            "optimizer's count of steps, which it would hold back; give larger batches"
        )
    if loss_scaling and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    # Keras has no public name for them, and says so of a wrong one only in the midst of a step.
    owned = getattr(optimizer, "inner_optimizer", optimizer)._trainable_variables
    if {id(variable) for variable in owned} != {id(variable) for variable in variables}:
        raise ValueError(
            f"the optimizer {optimizer.name} was built for other variables; give each network an "
            "optimizer of its own"
        )
    return optimizer
