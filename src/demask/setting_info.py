"""What is known of a setting: its type, bounds and help.

The command line makes its options of this, the server its fields, and `Settings` checks itself by
it. Nothing heavy is imported here.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field
from typing import Any

from demask.registry import Table, describe, shortened

MOST_PIXELS = 65535
"""The longest side of an image."""

Variants = Callable[[], Sequence[Table[Any]]]
"""Imports and returns the tables whose rows a setting names."""


def check_unicode(name: str, text: str) -> str:
    """The text, if it is Unicode text.

    Python makes lone surrogates of bytes on the command line that are no UTF-8.

    Raises:
        ValueError: it holds lone surrogates.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is not UTF-8 text: {shortened(ascii(text))}") from None
    return text


@dataclass(frozen=True)
class SettingInfo:
    """What is known of a setting beside its name and default.

    Attributes:
        kind: int, float, str, or tuple for a list of names.
        help: a sentence without a full stop.
        group: the heading on the help page of a command.
        optional: whether None is a value.
        low: the smallest number.
        high: the largest number.
        above: ``low`` itself is too small.
        or_zero: 0 is valid, too, although it is less than ``low``.
        longest: characters of a text that the server takes.
        metavar: how the help page of a command shows a value.
        flag: the option of the command line; by default the setting's name.
        variants: the tables of the names that are valid.
        without: options of a variant that are settings of their own.
    """

    kind: type
    help: str
    group: str = "Sampling"
    optional: bool = False
    low: float | None = None
    high: float | None = None
    above: bool = False
    or_zero: bool = False
    longest: int = 200
    metavar: str | None = None
    flag: str = ""
    variants: Variants | None = None
    without: tuple[str, ...] = ()

    @property
    def valid(self) -> str:
        """What a value must be, for messages."""
        if self.kind in (int, float):
            noun = "a whole number" if self.kind is int else "a number"
            return noun + self.bounds + (" or None" if self.optional else "")
        if self.kind is tuple:
            return "a name or a list of names"
        return "a name" if self.variants else "text"

    @property
    def bounds(self) -> str:
        """The smallest and the largest number, for messages and help."""
        if self.low is None or self.high is None:
            return "" if self.low is None else f" of at least {self.low:g}"
        smallest = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        limits = f" {smallest}" + (" and at most " if self.above else " to ") + f"{self.high:.10g}"
        return f" (0, or{limits})" if self.or_zero else limits

    def check(self, name: str, value: object) -> Any:
        """A value in the form in which `Settings` stores it.

        Objects become the text that names them, and a single name where a list is expected
        becomes a list.

        Raises:
            ValueError: one line: the setting, what was given and what is valid.
        """
        if value is None and self.optional:
            return None
        if self.kind is tuple:
            several = value if isinstance(value, list | tuple) else (value,)
            return tuple(self.check_text(name, one) for one in several)
        if self.kind is str:
            return self.check_text(name, value)
        wanted = numbers.Integral if self.kind is int else numbers.Real
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ValueError(self.refusal(name, value))
        try:
            number = self.kind(value)
        except OverflowError:  # a whole number beyond the largest float
            raise ValueError(self.refusal(name, value)) from None
        if not self.contains(number):
            raise ValueError(self.refusal(name, value))
        return number

    def contains(self, number: float) -> bool:
        """Whether a number is within the bounds."""
        if self.kind is float and not math.isfinite(number):
            return False
        if self.or_zero and number == 0:
            return True
        if self.low is not None and (number <= self.low if self.above else number < self.low):
            return False
        return self.high is None or number <= self.high

    def check_text(self, name: str, value: object) -> str:
        """A text, or the text that names an object.

        Raises:
            ValueError: neither.
        """
        if isinstance(value, str):
            return check_unicode(name, value)
        if self.variants is None or value is None or isinstance(value, numbers.Number | dict):
            raise ValueError(self.refusal(name, value))
        try:
            return describe(self.variants(), value, self.without)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def refusal(self, name: str, value: object) -> str:
        """The line for a value that is wrong."""
        return f"{name} must be {self.valid}, not {shortened(repr(value))}"

    def read(self, name: str, text: str) -> Any:
        """A value from a command line or a form, where everything is text.

        Raises:
            ValueError: as `check`.
        """
        if self.kind not in (int, float):
            return self.check(name, text)
        try:
            number = self.kind(text)
        except ValueError:
            raise ValueError(self.refusal(name, text)) from None
        return self.check(name, number)


def whole_number(name: str, value: object, low: float | None = None) -> int:
    """Check an argument that is no setting, such as a number of images.

    Raises:
        ValueError: one line: the argument, what was given and what is valid.
    """
    number: int = SettingInfo(int, "", low=low).check(name, value)
    return number


def texts(name: str, value: object) -> tuple[str, ...]:
    """Check an argument that is a text or several of them.

    Raises:
        ValueError: one line: the argument and what was given.
    """
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, Sequence) or not all(isinstance(one, str) for one in several):
        given = shortened(repr(value))
        raise ValueError(f"{name} must be a text or a list of texts, not {given}")
    return tuple(several)


def setting(kind: type, default: Any, help_text: str, **more: Any) -> Any:
    """A field of `Settings`, with all that is known of it."""
    info = SettingInfo(kind, help_text, optional=default is None, **more)
    return field(default=default, metadata={"info": info})


def named(default: Any, help_text: str, tables: Variants, **more: Any) -> Any:
    """A field that names variants: one, or a list of them where the default is a list."""
    several = isinstance(default, tuple)
    more.setdefault("metavar", "NAME..." if several else "NAME")
    return setting(tuple if several else str, default, help_text, variants=tables, **more)


def pixels(side: str) -> Any:
    """A side of the image."""
    text = f"{side} of the image; default: the model's"
    more = {"group": "Image", "metavar": "PIXELS", "low": 1, "high": MOST_PIXELS}
    return setting(int, None, text, **more)


def info_of(setting_field: Field[Any]) -> SettingInfo:
    """What is known of a field of `Settings`."""
    info: SettingInfo = setting_field.metadata["info"]
    return info
