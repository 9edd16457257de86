"""How every command starts and ends: flags in, one line per error, an exit code out."""

import contextlib
import difflib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import flags

from fsgan_tf.errors import RunError, UserError, VerdictError, one_line

Main = Callable[[flags.FlagValues, list[str]], None]

_INTERRUPTED = 130
_READER_LEFT = 141  # As shells tell of a program that writing to a closed pipe ended.
# Flags as other programs call them.
_OFTEN_MEANT = {
    "lr": ("classifier_learning_rate",),
    "eps": ("epsilon",),
    "batch": ("batch_size",),
    "model": ("architecture", "keras_model", "saved_model"),
    "data": ("dataset", "data_dir"),
    "depth": ("classifier_depth",),
    "width": ("classifier_width",),
    "out": ("run_dir", "output_dir"),
    "output_dir": ("run_dir", "export_dir"),
    "n": ("num_examples", "train_examples"),
    "gpu": ("strategy",),
    "gpus": ("strategy",),
    "device": ("strategy",),
    "steps": ("epochs", "attack_iterations"),
}


def run(
    main: Main,
    flag_values: flags.FlagValues,
    *,
    description: str,
    takes_words: bool = False,
    argv: Sequence[str] | None = None,
    help_text: Callable[[list[str]], str] | None = None,
) -> int:
    """Parses the command line, calls `main(flag_values, words)` and returns the exit code.

    Args:
      main: the command; it raises `UserError` or `RunError` for what it cannot do.
      flag_values: the flags this command takes; filled in from the command line.
      description: what `--help` prints above the flags.
      takes_words: whether words that belong to no flag are allowed (image files, say).
      argv: the command line without the program's name; the process's own by default.
      help_text: the flags as `--help` prints them, of the command line; absl's list by default.

    Returns:
      0 on success, 2 for bad input, 1 for a failure at run time, 3 for a verdict that `--fail_on`
      refuses, 130 after Ctrl-C or SIGTERM, 141 where the reader of the output left before its end.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if any(word in ("--help", "-h", "-help", "--helpfull") for word in argv):
            with reader_may_leave():
                told = help_text(argv) if help_text else flag_values.get_help()
                print(f"{description}\n\nFlags:\n{told}")
            return 0
        words = _parse(flag_values, argv)
        if not takes_words:
            refuse_words(words)
        with _stoppable():
            main(flag_values, words)
        sys.stdout.flush()
    except UserError as error:
        return _fail(error, 2)
    except RunError as error:
        return _fail(error, 1)
    except VerdictError as error:
        return _fail(error, 3)
    except BrokenPipeError:
        _close_stdout()
        return _READER_LEFT
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        name = str(error.filename)
        return _fail(
            UserError(f"{name[:40]}... of {len(name)} letters is too long for a file's name"), 2
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def refuse_words(words: Sequence[str]) -> None:
    """Raises UserError where words of the command line belong to no flag."""
    if words:
        raise UserError(
            f"unexpected words on the command line: {' '.join(words)}; every setting is a "
            "flag of the form --name=value (see --help)"
        )


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """What runs within ends quietly where the reader of its output, such as `head`, has left."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()


def _close_stdout() -> None:
    """Leads what is still written nowhere: at its end Python would flush into the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    except RecursionError as error:  # absl looks for names like it
        raise UserError("a flag's name is too long to be one (see --help)") from error
    except flags.UnrecognizedFlagError as error:
        raise UserError(
            f"there is no flag --{error.flagname}{_meant(error, flag_values)}"
        ) from error
    except (flags.Error, ValueError) as error:  # absl raises the latter for --nodry_run=true
        raise UserError(one_line(error)) from error


def _meant(error: flags.UnrecognizedFlagError, flag_values: flags.FlagValues) -> str:
    """What may have been meant by a flag that is not there, or where to read on."""
    known, name = list(flag_values), error.flagname
    similar = [
        *_OFTEN_MEANT.get(name, ()),
        *difflib.get_close_matches(name, known, n=2, cutoff=0.75),
        *(other for other in known if other.endswith(f"_{name}")),
        *(other for other in known if other.startswith(f"{name}_")),
    ]
    shown = [f"--{other}" for other in dict.fromkeys(similar) if other in known][:3]
    return f"; did you mean {' or '.join(shown)}?" if shown else " (see --help)"


def _fail(error: Exception, code: int) -> int:
    print(f"error: {one_line(error)}", file=sys.stderr)
    return code
