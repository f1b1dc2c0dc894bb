"""The `baryon` command."""

import typer

from cluster.commands.audit import audit
from cluster.commands.backtest import backtest
from cluster.commands.backup import backup, restore
from cluster.commands.bench import bench
from cluster.commands.chat import chat
from cluster.commands.dashboards import dashboards
from cluster.commands.doctor import doctor
from cluster.commands.keys import keys
from cluster.commands.plan import plan
from cluster.commands.simulate import simulate
from cluster.commands.status import status
from cluster.commands.top import top
from cluster.commands.up import apply, down, up
from cluster.commands.usage import usage

app = typer.Typer(
    name="baryon",
    help="Distributed LLM serving on Ray Serve and vLLM, behind one OpenAI-compatible endpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (up, down, status, top, apply, chat, plan, doctor, backtest, usage, audit, backup, restore):
    app.command()(command)
app.add_typer(bench, name="bench")
app.add_typer(dashboards, name="dashboards")
app.add_typer(keys, name="keys")
app.add_typer(simulate, name="simulate")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
