"""The ways a command fails, each told in one line."""


def one_line(error: BaseException) -> str:
    """What an error says, without its line breaks."""
    return " ".join(str(error).split())


class UserError(Exception):
    """Bad input: flags, files, data or models. The command ends with exit code 2.

    The message is one line that says what is wrong and what to do.
    """


def said_within(message: str) -> str | None:
    """What a `UserError` said that TensorFlow met in Python code that its graph calls, if it did.

    Args:
      message: TensorFlow's, of many lines; one of them is the error as Python prints it.
    """
    for line in message.splitlines():
        _, name, said = line.partition(f"{UserError.__name__}: ")
        if name:
            return said
    return None


class RunError(Exception):
    """A failure at run time that no input explains. The command ends with exit code 1."""


class NonFiniteError(RunError):
    """A loss, a report or a weight is NaN or infinite."""


class VerdictError(Exception):
    """An evaluation ended, and `--fail_on` refuses its verdict. The command ends with code 3."""
