"""What a model does to pixels before its first layer, where the file does not hold it.

An attack sees images in [0, 1], RGB; the model is given what it was trained on.
"""

import dataclasses
from typing import TYPE_CHECKING

from fsgan_tf.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

INPUT_RANGES = {"0,1": (0.0, 1.0), "0,255": (0.0, 255.0), "-1,1": (-1.0, 1.0)}
CHANNEL_ORDERS = ("rgb", "bgr")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From pixels in [0, 1], RGB, to what a model takes: range, channel order, mean, std.

    Attributes:
      input_range: pixels before the mean is subtracted: `0,1`, `0,255` or `-1,1`. None until
        `for_input` has chosen it by what the model takes.
      mean: subtracted, in units of `input_range`; one number, or one for each channel in the
        model's own order. None for nothing.
      std: divided by, after the mean; like `mean`.
      channel_order: `rgb` or `bgr`, the order in which the model takes colours.

    Raises:
      UserError: a value is not one of these, or std is not above 0.
    """

    input_range: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: str = "rgb"

    def __post_init__(self) -> None:
        if self.input_range not in (None, *INPUT_RANGES):
            raise UserError(
                f"--input_range={self.input_range} must be one of {'; '.join(INPUT_RANGES)}"
            )
        if self.channel_order not in CHANNEL_ORDERS:
            raise UserError(f"--channel_order={self.channel_order} must be rgb or bgr")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in (1, 3):
                raise UserError(
                    f"--{name} has {len(values)} numbers; give one, or one for each of 3 channels"
                )
        if self.std is not None and not all(value > 0 for value in self.std):
            raise UserError(f"--std={_joined(self.std)} must be above 0")

    def __call__(self, images: "tf.Tensor") -> "tf.Tensor":
        """float32 `[b, h, w, c]` in [0, 1], RGB, to what the model takes, of the same shape."""
        import tensorflow as tf

        lower, upper = INPUT_RANGES[self.input_range or "0,1"]
        pixels = images * (upper - lower) + lower
        if self.channel_order == "bgr":
            pixels = tf.reverse(pixels, axis=[-1])
        if self.mean is not None:
            pixels = pixels - tf.constant(self.mean, tf.float32)
        if self.std is not None:
            pixels = pixels / tf.constant(self.std, tf.float32)
        return pixels

    def require_channels(self, channels: int, source: str) -> None:
        """Raises `UserError` where images of so many channels cannot be treated so."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in (1, channels):
                raise UserError(
                    f"--{name}={_joined(values)} has {len(values)} numbers; {source} takes images "
                    f"of {channels} channels"
                )
        if self.channel_order == "bgr" and channels != 3:
            raise UserError(
                f"--channel_order=bgr needs 3 channels; {source} takes images of {channels}"
            )

    def __str__(self) -> str:
        """As flags; the range is always said."""
        flags = [f"--input_range={self.input_range}"]
        if self.mean is not None:
            flags.append(f"--mean={_joined(self.mean)}")
        if self.std is not None:
            flags.append(f"--std={_joined(self.std)}")
        if self.channel_order != "rgb":
            flags.append(f"--channel_order={self.channel_order}")
        return " ".join(flags)


AS_IS = Preprocessing("0,1")


def for_input(asked: Preprocessing | None, dtype: str) -> Preprocessing:
    """What is asked for a model whose input has that type.

    Where no range is asked for it is [0, 1], or 0 to 255 for integers.
    """
    asked = asked or Preprocessing()
    by_type = "0,1" if "float" in dtype else "0,255"
    return dataclasses.replace(asked, input_range=asked.input_range or by_type)


def _joined(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.4g}" for value in values)
