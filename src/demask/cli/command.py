"""The base classes of commands: arguments, help pages, and errors of one line with exit code 2."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from demask.foreign_names import translated

INTERRUPTED, TERMINATED = 130, 143  # what a shell expects after Ctrl-C and after SIGTERM

Decorator = Callable[[Any], Any]
"""The type of the result of `click.option`."""
ThreadHook = Callable[[threading.ExceptHookArgs], object]


class UserError(click.ClickException):
    """A wrong argument or input, or a full disk: one line on stderr."""

    exit_code = 2


class Several(click.Option):
    """An option of several values: ``--class cat ship`` or ``--class cat --class ship``."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **{**keywords, "multiple": True})


def number(*names: str, **more: Any) -> Decorator:
    """An option whose default gives its type and is shown in the help."""
    return click.option(*names, **{"type": type(more["default"]), "show_default": True, **more})


def several(*names: str, **more: Any) -> Decorator:
    """An option of several values; see `Several`."""
    return click.option(*names, cls=Several, show_default="default" in more, **more)


def path_option(
    *names: str, dir_okay: bool = True, file_okay: bool = True, **more: Any
) -> Decorator:
    """An option that names a file or a folder."""
    kind = click.Path(path_type=Path, dir_okay=dir_okay, file_okay=file_okay)
    return click.option(*names, type=kind, **more)


class OptionGroup(Sequence[Decorator]):
    """Options under one heading of a command's help page.

    Args:
        title: the heading.
        options: results of `click.option`.
    """

    def __init__(self, title: str, options: Sequence[Decorator]) -> None:
        self.title = title
        self.options = [self._titled(option) for option in options]

    def __getitem__(self, index: Any) -> Any:
        return self.options[index]

    def __len__(self) -> int:
        return len(self.options)

    def _titled(self, option: Decorator) -> Decorator:
        def decorate(function: Any) -> Any:
            function = option(function)
            function.__click_params__[-1].group = self.title
            return function

        return decorate


class Command(click.Command):
    """A command with options of `Several` values and with headings in its help page."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, with ``--class cat ship`` as ``--class cat --class ship``."""
        several = {name for p in self.params if isinstance(p, Several) for name in p.opts}
        return super().parse_args(ctx, spread(args, several))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their groups."""
        for title, parameters in grouped(self.get_params(ctx)):
            records = [parameter.get_help_record(ctx) for parameter in parameters]
            if shown := [record for record in records if record is not None]:
                with formatter.section(title):
                    formatter.write_dl(shown)


class Group(click.Group):
    """A group of commands whose errors are one line; ``DEMASK_DEBUG=1`` shows the traceback."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise  # the reader of the output is gone: click ends without a message
        except click.UsageError as error:
            raise UserError(usage_message(error, ctx)) from None
        except ModuleNotFoundError as error:
            if os.environ.get("DEMASK_DEBUG") or (error.name or "demask").startswith("demask"):
                raise
            raise UserError(f"the package '{error.name}' is not installed") from None
        except (ValueError, OSError) as error:
            if os.environ.get("DEMASK_DEBUG"):
                raise
            raise UserError(one_line(describe(error))) from None


def grouped(parameters: Sequence[click.Parameter]) -> Iterator[tuple[str, list[click.Parameter]]]:
    """Parameters by the heading of their group, in the order of first appearance."""
    groups: dict[str, list[click.Parameter]] = {}
    for parameter in parameters:
        if not isinstance(parameter, click.Option):
            continue  # the first line of the page shows the arguments
        groups.setdefault(getattr(parameter, "group", "Options"), []).append(parameter)
    groups["Options"] = groups.pop("Options", [])  # --help, last
    yield from groups.items()


def usage_message(error: click.UsageError, ctx: click.Context) -> str:
    """A wrong argument in one line; an option of another program gets its translation."""
    path = error.ctx.command_path if error.ctx else ctx.command_path
    foreign = None
    if isinstance(error, click.NoSuchOption):
        foreign = translated(error.option_name.lstrip("-").replace("-", "_"))
    message = foreign or one_line(error.format_message()).rstrip(".")
    parameter = error.param if isinstance(error, click.BadParameter) else None
    if parameter is not None and error.message.startswith(f"{parameter.name} must"):
        message = error.message
    return f"{message}. See '{path} --help'"


def spread(words: list[str], several: Collection[str]) -> list[str]:
    """Repeat the name of an option of several values before each of its values."""
    result: list[str] = []
    option = ""
    for position, word in enumerate(words):
        if word == "--":
            return result + words[position:]
        if word.startswith("-"):
            option = word if word in several else ""
            result.append(word)
        elif option and result[-1] != option:
            result += [option, word]
        else:
            result.append(word)
    return result


def report_thread(usual: ThreadHook, error: threading.ExceptHookArgs) -> None:
    """Report the error of a thread; TensorBoard's also ends the training, which reports it."""
    if not type(error.thread).__module__.startswith("tensorboard"):
        usual(error)


def describe(error: Exception) -> str:
    """The message of an exception; for a file, its path and what is wrong."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())
