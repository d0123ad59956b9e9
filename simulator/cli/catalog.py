"""tierscope list and tierscope show."""

from __future__ import annotations

import shutil

import click

from simulator.cli.options import override_option

KINDS = dict.fromkeys(("hardware", "dram", "links", "hosts", "ssds"), ".toml") | {"models": ".json"}
SUITES = "suites"
COUNTERS = "counters"


@click.command("list")
@click.argument("kind", type=click.Choice([*KINDS, SUITES, COUNTERS]))
def list_command(kind: str) -> None:
    """List what ships with tierscope: hardware, the presets that --set hbm.standard, link.kind, host.kind and ssd.kind
    name, models, validation suites, or the counters of --counters."""
    if kind == COUNTERS:
        from simulator.report.ncu.page import to_table

        click.echo(to_table(shutil.get_terminal_size((120, 40)).columns), nl=False)
        return
    if kind == SUITES:
        from simulator.validation.catalog import SUITES as suites

        for name, description in suites.items():
            click.echo(f"{name}  {description}")
        return
    from simulator import config

    for name in config.names(kind, KINDS[kind]):
        click.echo(name)


@click.group()
def show() -> None:
    """Print a description as it is used, every number with its source."""


@show.command("hardware")
@click.argument("name")
@override_option
@click.option("--format", "form", type=click.Choice(["table", "json", "toml"]), default="table", show_default=True)
def show_hardware(name: str, overrides: tuple[str, ...], form: str) -> None:
    """Print a device (a shipped name or a path) with the source of each number, and what it adds up to; with --format
    toml its file.  A file of your own may begin with base = "l40s", the nearest device, and give what differs."""
    from simulator import config
    from simulator import hardware as devices
    from simulator.report import hardware_table

    device = devices.load(name, overrides)
    tree = device.spec.model_dump(mode="json", by_alias=True)
    if form == "json":
        click.echo(hardware_table.to_json(tree, device.sources))
    elif form == "toml":
        if overrides:
            raise click.UsageError("--set does not change the file that --format toml prints; edit what it prints")
        click.echo(config.read_text(config.find("hardware", name, ".toml")), nl=False)
    else:
        width = shutil.get_terminal_size((120, 40)).columns
        click.echo(hardware_table.render(tree, device.sources, width), nl=False)
        click.echo(hardware_table.peaks(device.spec.peaks()), nl=False)
