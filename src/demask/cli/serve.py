"""`demask serve`: a web page and an HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from demask.cli.command import Command, OptionGroup, number, path_option, several
from demask.cli.options import DEFAULT_MODEL, DEVICE, add
from demask.device import check_device

if TYPE_CHECKING:
    from demask.generator import Generator
    from demask.server.app import Page
    from demask.server.guard import Keys
    from demask.server.provenance import Provenance

SERVED = OptionGroup(
    "Models",
    [
        several(
            "--model",
            "models",
            metavar="NAME|PATH...",
            default=(DEFAULT_MODEL,),
            help="Shipped models, folders, checkpoints or hub ids; the first is the default.",
        ),
        DEVICE,
        click.option(
            "--dtype",
            type=click.Choice(["float32", "bfloat16", "float16"]),
            help="Type of the weights; default: float32.",
        ),
    ],
)

ADDRESS = OptionGroup(
    "Address",
    [
        click.option(
            "--host", default="127.0.0.1", show_default=True, help="The address to listen on."
        ),
        number("--port", type=click.IntRange(0, 65535), default=7860, help="0: any free port."),
        path_option(
            "--api-key-file",
            help="A file with one API key per line; /v1 then requires one of them.",
        ),
        click.option(
            "--public-url",
            metavar="URL",
            help="The address that clients use, as behind a proxy; 'url' answers begin with it.",
        ),
        several(
            "--trusted-proxy",
            "trusted_proxies",
            metavar="ADDRESS...",
            help="Addresses or networks of proxies whose X-Forwarded headers are trusted.",
        ),
        click.option("--no-page", is_flag=True, help="Serve only the API."),
        click.option(
            "--insecure", is_flag=True, help="Accept requests from other machines without a key."
        ),
    ],
)

LIMITS = OptionGroup(
    "Limits",
    [
        number(
            "--max-queue",
            type=click.IntRange(1),
            default=128,
            help="Images that may wait in the queue; further requests get status 429.",
        ),
        number("--max-tokens", type=click.IntRange(1), default=1024, help="Tokens in one batch."),
        number(
            "--max-pixels",
            type=click.IntRange(1),
            default=512 * 512,
            help="Pixels of one image, unless the model's default size is larger.",
        ),
        number(
            "--max-windows",
            type=click.IntRange(1),
            default=16,
            help="Windows of the model's default size that cover one image.",
        ),
        number(
            "--max-bytes", type=click.IntRange(1), default=10 * 2**20, help="Bytes of one request."
        ),
        number(
            "--max-connections",
            type=click.IntRange(1),
            default=256,
            help="Open connections of one client address.",
        ),
        number(
            "--time-limit",
            type=click.FloatRange(0, min_open=True),
            default=120.0,
            help="Seconds for one image, including the time in the queue.",
        ),
    ],
)

FACTS = OptionGroup(
    "Provenance",
    [
        click.option("--no-provenance", is_flag=True, help="Write no metadata into the images."),
        path_option(
            "--c2pa-certificate",
            help="Certificates (PEM) that sign C2PA manifests; default: created at the start.",
        ),
        path_option("--c2pa-key", help="The private key of the certificates (PEM)."),
    ],
)


@click.command(cls=Command)
@add(SERVED, ADDRESS, LIMITS, FACTS)
def serve(
    models: tuple[str, ...],
    device: str | None,
    dtype: str | None,
    host: str,
    port: int,
    api_key_file: Path | None,
    public_url: str | None,
    trusted_proxies: tuple[str, ...],
    no_page: bool,
    insecure: bool,
    max_queue: int,
    max_tokens: int,
    max_pixels: int,
    max_windows: int,
    max_bytes: int,
    max_connections: int,
    time_limit: float,
    no_provenance: bool,
    c2pa_certificate: Path | None,
    c2pa_key: Path | None,
) -> None:
    """Serve a page and an OpenAI-compatible images API until Ctrl-C."""
    from demask.server.addresses import read_networks, read_public_url
    from demask.server.app import ServerConfig, create_app
    from demask.server.engine import Engine, Limits
    from demask.server.metrics import Metrics
    from demask.server.run import Listening, server_of

    url, proxies = read_public_url(public_url or ""), read_networks(trusted_proxies)
    keys = open_keys(host, api_key_file, insecure, bool(url or proxies))
    hosts = own_names(host, url) if keys is None else ()
    provenance = open_provenance(no_provenance, c2pa_certificate, c2pa_key)
    generators = load_models(models, device, dtype)
    metrics = Metrics()
    limits = Limits(max_queue, max_tokens, max_pixels, max_windows, time_limit)
    config = ServerConfig(keys, provenance, max_bytes, hosts=hosts, public_url=url)
    page = None if no_page or keys else find_page()
    app = create_app(Engine(generators, limits, metrics), metrics, config, page)
    click.echo(f"{', '.join(generators)} at http://{host}:{port}, documentation at /docs")
    server_of(app, Listening(host, port, time_limit, proxies, max_connections)).run()


def open_keys(host: str, file: Path | None, insecure: bool, forwarded: bool) -> Keys | None:
    """The API keys; None if none are required.

    Args:
        host: the address to listen on.
        file: holds the keys.
        insecure: other machines need no key.
        forwarded: a proxy forwards requests of other machines.

    Raises:
        ValueError: other machines could send requests, and neither option allows it.
    """
    if file is not None:
        from demask.server.guard import Keys

        return Keys.read(file)
    from demask.server.addresses import is_local

    if (forwarded or not is_local(host)) and not insecure:
        by = "a proxy" if forwarded else f"--host {host}"
        raise ValueError(f"{by} is open to other machines: give --api-key-file, or --insecure")
    return None


def own_names(host: str, public_url: str) -> tuple[str, ...]:
    """The host names that requests may use, where none of them needs a key; () for any."""
    from urllib.parse import urlsplit

    from demask.server.addresses import is_local
    from demask.server.app import LOCAL

    if not is_local(host):
        return ()
    name = urlsplit(public_url).hostname
    return LOCAL if name is None else (*LOCAL, name)


def find_page() -> Page | None:
    """The page, or None if Gradio is not installed."""
    import importlib.util

    if importlib.util.find_spec("gradio") is None:
        return None
    from demask.ui import mount

    return mount


def open_provenance(off: bool, certificate: Path | None, key: Path | None) -> Provenance:
    """The metadata that the server writes into images.

    Raises:
        ValueError: a certificate without its key, or one that cannot sign.
    """
    from demask.server.credentials import Credentials, Signing
    from demask.server.provenance import Provenance

    if (certificate is None) != (key is None):
        raise ValueError("--c2pa-certificate and --c2pa-key go together")
    if off:
        return Provenance(text=False)
    if certificate is None or key is None:
        return Provenance(credentials=Credentials(Signing.make()))
    return Provenance(credentials=Credentials(Signing.read(certificate, key)))


def load_models(
    models: tuple[str, ...], device: str | None, dtype: str | None
) -> dict[str, Generator]:
    """Name in requests -> generator; the name of a path is its last part.

    Raises:
        ValueError: two models have one name, or one cannot be loaded.
    """
    import dataclasses

    from demask.assembly import load

    check_device(device)
    generators: dict[str, Generator] = {}
    for model in models:
        name = Path(model).name
        if name in generators:
            raise ValueError(f"two models are called '{name}'")
        loaded = load(model, device=device, dtype=dtype)
        generators[name] = dataclasses.replace(loaded, name=name)
    return generators
