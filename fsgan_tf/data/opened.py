"""A data set by name, opened to read its splits."""

from typing import Any

from fsgan_tf.data import class_names as class_order
from fsgan_tf.data import registry
from fsgan_tf.data.source import Source
from fsgan_tf.data.split import Split
from fsgan_tf.errors import UserError


class Opened:
    """A source of images, with the labels in the order that the user wants."""

    def __init__(
        self,
        name: str,
        class_names: str | None,
        options: dict[str, Any],
        known_names: tuple[str, ...] = (),
    ):
        """Opens a source; the arguments are those of `loading.load_split`."""
        self.name = name
        self.source: Source = registry.open_source(name, options)
        self.class_names = self.source.class_names
        if class_names is not None:
            self.class_names = class_order.read_class_names(class_names)
            class_order.require_names(self.source.class_names, self.class_names, name)
        elif set(self.class_names) <= set(known_names):
            self.class_names = known_names
        elif self.source.sorts_classes:
            class_order.warn_of_numeric_order(self.class_names, name)
        if not all(map(str.isprintable, self.class_names)):
            # They are written a line each, and shown on terminals.
            raise UserError(f"{name} has class names of unprintable characters; rename its classes")

    def read(self, split: str) -> Split:
        """Reads a split and checks its labels."""
        own = self.source.class_names
        result = self.source.read(split)
        outside = result.labels[(result.labels < 0) | (result.labels >= len(own))]
        if outside.size:
            raise UserError(
                f"{self.name} has {outside.size} labels outside its {len(own)} classes (such as "
                f"{outside[0]}); use a data set whose examples are all labelled"
            )
        if self.class_names == own:
            return result
        return class_order.relabel(result, own, self.class_names)
