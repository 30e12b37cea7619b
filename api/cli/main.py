"""`suanwang`: every command by name, loaded only when called, so that an agent never imports the database."""

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from api.cli.errors import UsageProblemError

_COMMANDS = {
    "up": "api.cli.up:up",
    "demo": "api.cli.demo.command:demo",
    "quote": "api.cli.answers:quote",
    "submit": "api.cli.jobs:submit",
    "jobs": "api.cli.jobs:jobs",
    "job": "api.cli.jobs:job",
    "explain": "api.cli.answers:explain",
    "tasks": "api.cli.jobs:tasks",
    "cancel": "api.cli.jobs:cancel",
    "logs": "api.cli.logs:logs",
    "costs": "api.cli.jobs:costs",
    "inventory": "api.cli.jobs:inventory",
    "nodes": "api.cli.nodes:nodes",
    "catalogue": "api.cli.catalogue:app",
    "budgets": "api.cli.budgets:budgets",
    "links": "api.cli.links:links",
    "expenses": "api.cli.expenses:expenses",
    "prices": "api.cli.prices:prices",
    "windows": "api.cli.windows:app",
    "scheduling": "api.cli.windows:scheduling",
    "programmes": "api.cli.programmes:app",
    "settlements": "api.cli.settlements:settlements",
    "replay": "api.cli.replay:replay",
    "ledger": "api.cli.ledger:app",
    "export": "api.cli.export:app",
    "statements": "api.cli.statements:statements",
    "claim-pack": "api.cli.statements:claim_pack",
    "agent": "api.cli.main:agent",
    "api": "api.cli.servers:api",
    "dispatcher": "api.cli.servers:dispatcher",
    "relay": "api.cli.servers:relay",
    "migrate": "api.cli.servers:migrate",
    "token": "api.cli.servers:token",
}

_AGENTS = {
    "node": "agents.node.command:node",
    "cluster": "agents.cluster.command:cluster",
}


class _Lazy(TyperGroup):
    """A group whose commands are imported when they are asked for."""

    table = _COMMANDS

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name].partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False)
            single.command(cmd_name)(found)
            found = single
        command = get_command(found)
        command.name = cmd_name
        return command


class _LazyAgents(_Lazy):
    table = _AGENTS


app = typer.Typer(cls=_Lazy, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
agent = typer.Typer(
    cls=_LazyAgents, no_args_is_help=True, help="The agents that see accelerators and run grants.", rich_markup_mode=None
)


@app.callback()
def _suanwang() -> None:
    """算网: one network over a city's accelerators. Start with `suanwang demo`, or `suanwang up`."""


@agent.callback()
def _agent() -> None:
    """The agents that see accelerators and run grants."""


def main() -> None:
    """Run the command; what a user can mend is one line on stderr and exit code 2, never a traceback."""
    try:
        app()
    except UsageProblemError as error:
        typer.echo(f"suanwang: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
