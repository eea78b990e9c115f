"""`flask doctor` prints what `services.doctor` finds, and ends with 1 when something fails."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from config.partial import load_what_is_right
from services.doctor import Finding, Status, diagnose

_MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"
_COLOURS: Final = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Examine settings, disk, database, stores and addresses, and say what to mend."""
    settings, problems = load_what_is_right()
    findings = []
    for finding in diagnose(settings, problems, migrations=_MIGRATIONS):
        findings.append(finding)
        if not as_json:
            click.echo(_line(finding))
    failed = any(finding.status is Status.FAIL for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"healthy": not failed, "checks": checks}, indent=2))
    context.exit(1 if failed else 0)


def _line(finding: Finding) -> str:
    status = click.style(f"{finding.status:<4}", fg=_COLOURS[finding.status])
    variable = f"{finding.variable}: " if finding.variable else ""
    return f"{status}  {finding.check:<14}  {variable}{finding.message}"
