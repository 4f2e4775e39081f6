"""How every command reads its words and reports a mistake: one line, exit code 2, no traceback."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import click

INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended


class UserError(click.ClickException):
    """A mistake of the person, or a disk that is full: one line on stderr."""

    exit_code = 2


class Several(click.Option):
    """An option of several values: ``--class cat ship`` or ``--class cat --class ship``."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **{**keywords, "multiple": True})


class Command(click.Command):
    """A command that knows options of `Several` values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words, after writing ``--class cat ship`` as ``--class cat --class ship``."""
        several = {name for p in self.params if isinstance(p, Several) for name in p.opts}
        return super().parse_args(ctx, spread(args, several))


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
            raise  # the reader of our output has left: click ends quietly
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else ctx.command_path
            message = one_line(error.format_message()).rstrip(".")
            raise UserError(f"{message}. See '{path} --help'") from None
        except ModuleNotFoundError as error:
            if os.environ.get("DEMASK_DEBUG") or (error.name or "demask").startswith("demask"):
                raise
            raise UserError(f"the package '{error.name}' is not installed") from None
        except (ValueError, OSError) as error:
            if os.environ.get("DEMASK_DEBUG"):
                raise
            raise UserError(one_line(describe(error))) from None


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


def describe(error: Exception) -> str:
    """An exception in the words of a person."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())
