"""How every command starts and ends: flags in, one line per error, an exit code out."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import flags

from fsgan_tf.errors import RunError, UserError

Main = Callable[[flags.FlagValues, list[str]], None]

_INTERRUPTED = 130


def run(
    main: Main,
    flag_values: flags.FlagValues,
    *,
    description: str,
    takes_words: bool = False,
    argv: Sequence[str] | None = None,
) -> int:
    """Parses the command line, calls `main(flag_values, words)` and returns the exit code.

    Args:
      main: the command; it raises `UserError` or `RunError` for what it cannot do.
      flag_values: the flags this command takes; filled in from the command line.
      description: what `--help` prints above the flags.
      takes_words: whether words that belong to no flag are allowed (image files, say).
      argv: the command line without the program's name; the process's own by default.

    Returns:
      0 on success, 2 for bad input, 1 for a failure at run time, 130 after Ctrl-C or SIGTERM.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if any(word in ("--help", "-h", "-help", "--helpfull") for word in argv):
        print(f"{description}\n\nFlags:\n{flag_values.get_help()}")
        return 0
    try:
        words = _parse(flag_values, argv)
        if words and not takes_words:
            raise UserError(
                f"unexpected words on the command line: {' '.join(words)}; every setting is a "
                "flag of the form --name=value (see --help)"
            )
        with _stoppable():
            main(flag_values, words)
    except UserError as error:
        return _fail(error, 2)
    except RunError as error:
        return _fail(error, 1)
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python must not flush into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM stops what runs within as Ctrl-C does, so that it can put things in order.

    Ctrl-C does so too where a shell started the command in the background, which ignores it.
    """
    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _parse(flag_values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    try:
        return list(flag_values(["fsgan_tf", *argv])[1:])
    except UnicodeDecodeError as error:
        raise UserError(f"a --flagfile is no text in UTF-8: {error}") from error
    except RecursionError as error:  # absl looks for names like it
        raise UserError("a flag's name is too long to be one (see --help)") from error
    except (flags.Error, ValueError) as error:  # absl raises the latter for --nodry_run=true
        raise UserError(_one_line(error)) from error


def _fail(error: Exception, code: int) -> int:
    print(f"error: {_one_line(error)}", file=sys.stderr)
    return code


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
