"""Which optimizers a training method trains its networks with."""

from __future__ import annotations

from typing import Any

import keras

from fsgan_tf.methods.parts import optimizers


class Compiling(keras.Model):
    """`compile` of a method; `TrainingMethod` has the attributes."""

    def compile(
        self,
        optimizer: Any = None,
        *,
        jit_compile: bool = False,
        run_eagerly: bool = False,
        **optimizers: Any,
    ) -> None:
        """Sets the optimizers; those that are not given are the method's authors'.

        One that is given replaces the settings that the method's own is made of: learning rate,
        momentum, weight decay.

        Args:
          optimizer: the classifier's: a Keras optimizer, its name or its configuration.
          jit_compile: whether XLA compiles the step.
          run_eagerly: whether steps run without a graph, to debug them.
          **optimizers: `generator_optimizer`, for methods that have a generator.

        Raises:
          TypeError: the method has nothing of that name to set.
          ValueError: the method was made with settings that the optimizers given replace.
        """
        given = {"classifier": optimizer}
        for name, value in optimizers.items():
            network = name.removesuffix("_optimizer")
            if network not in self.networks or network == "classifier" or network == name:
                raise TypeError(
                    f"{type(self).__name__}.compile() has no {name}: the method has its own losses "
                    f"and reports; its optimizers are optimizer"
                    + "".join(f", {n}_optimizer" for n in self.networks if n != "classifier")
                )
            given[network] = value
        self._require_no_replaced_settings(given)
        with self.distribute_strategy.scope():
            for network, model in self.networks.items():
                self.optimizers_by_network[network] = self._optimizer(network, model, given)
        self.classifier_optimizer = self.optimizers_by_network["classifier"]
        super().compile(
            self.classifier_optimizer,
            # Losses are scaled in `update`.
            auto_scale_loss=False,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
        )

    def _require_no_replaced_settings(self, given: dict[str, Any]) -> None:
        replaced: set[str] = set()
        used: set[str] = set()
        for network in self.networks:
            of_network = used if given.get(network) is None else replaced
            of_network |= self._settings_of_optimizer(network)
        defaults = type(self.settings)()
        lost = [
            name
            for name in sorted(replaced - used)
            if getattr(self.settings, name) != getattr(defaults, name)
        ]
        if lost:
            raise ValueError(
                f"{', '.join(lost)} would have no effect beside the optimizer given to compile(), "
                "which replaces the method's own: set it there and leave the setting out"
            )

    def _settings_of_optimizer(self, network: str) -> set[str]:
        """Names of the settings that the method's own optimizer of a network is made of."""
        own = {
            "classifier": {"optimizer", "classifier_learning_rate", "weight_decay"},
            "generator": {
                "generator_optimizer",
                "generator_learning_rate",
                "generator_weight_decay",
            },
        }[network]
        momentum = {"momentum"} if self.authors_optimizer(network)["kind"] == "sgd" else set()
        return own | momentum | {"weight_decay_on"}

    def _optimizer(
        self, network: str, model: keras.Model, given: dict[str, Any]
    ) -> keras.optimizers.Optimizer:
        scaled = self.dtype_policy_name == "mixed_float16"
        if given.get(network) is None:
            return optimizers.build(
                variables=model.trainable_variables,
                name=f"{network}_optimizer",
                loss_scaling=scaled,
                l2_on=self.settings.weight_decay_on,
                **self.authors_optimizer(network),
            )
        return optimizers.built(given[network], model.trainable_variables, loss_scaling=scaled)

    def authors_optimizer(self, network: str) -> dict[str, Any]:
        """The arguments of `optimizers.build` that a network of the method is trained with."""
        del network
        return {
            "kind": self.settings.optimizer,
            "learning_rate": self.settings.classifier_learning_rate,
            "momentum": self.settings.momentum,
            "l2": self.settings.weight_decay,
        }
