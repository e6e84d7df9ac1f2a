"""`sumkit doctor`: whether this machine can train, and what to mend if not."""

from __future__ import annotations

import json

import click

MARKS = {"ok": "ok  ", "warn": "note", "fail": "FAIL"}


@click.command("doctor")
@click.option("--engine", type=click.Choice(["auto", "mlx", "cuda"]), default="auto", help="Look at this engine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(engine: str, as_json: bool) -> int:
    """Check this machine: engine, device, libraries, bfloat16, Hub, disk, models.

    Exits 0 when it can train and 1, naming the remedies, when it cannot.

    \b
    Examples:
      sumkit doctor
      sumkit doctor --engine mlx
      sumkit doctor --json
    """
    from common.doctor.doctor import diagnose

    diagnosis = diagnose(engine)
    if as_json:
        click.echo(json.dumps(diagnosis.as_dict()))
        return 0 if diagnosis.healthy else 1
    width = max(len(finding.name) for finding in diagnosis.findings)
    for finding in diagnosis.findings:
        click.echo(f"{MARKS[finding.level]}  {finding.name.ljust(width)}  {finding.detail}")
        if finding.remedy:
            click.echo(f"      {' ' * width}  -> {finding.remedy}")
    failures = sum(finding.level == "fail" for finding in diagnosis.findings)
    if diagnosis.healthy:
        click.echo("\nThis machine can train.")
    else:
        click.echo(f"\nThis machine cannot train yet: {failures} to mend, see the remedies above.")
    return 0 if diagnosis.healthy else 1
