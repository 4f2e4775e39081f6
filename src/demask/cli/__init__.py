"""The command line. Only click is imported here; a command imports torch when it runs."""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial

import click

from demask import __version__
from demask.cli.bench import bench
from demask.cli.command import TERMINATED, Group, report_thread
from demask.cli.compare import compare
from demask.cli.convert import convert
from demask.cli.evaluate import evaluate
from demask.cli.figure import figure
from demask.cli.generate import generate
from demask.cli.inpaint import inpaint
from demask.cli.models import models
from demask.cli.outpaint import outpaint
from demask.cli.quantize import quantize
from demask.cli.reconstruct import reconstruct
from demask.cli.serve import serve
from demask.cli.sweep import sweep
from demask.cli.train import train
from demask.cli.tune import tune

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=Group, context_settings=HELP)
@click.version_option(__version__, message="demask %(version)s")
def demask() -> None:
    """Masked generative transformers: generate images, regenerate parts of them, train your own."""


COMMANDS = (
    *(generate, inpaint, outpaint, reconstruct),
    *(evaluate, compare, sweep, tune, bench, figure),
    *(models, train, convert, quantize, serve),
)
for command in COMMANDS:
    demask.add_command(command)


def main() -> None:
    """The program ``demask``; SIGTERM ends it in order, without its temporary files."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(TERMINATED))
    threading.excepthook = partial(report_thread, threading.excepthook)
    demask.main(prog_name="demask")
