"""The command line, from the application itself."""

import re

import typer
from sphinx.application import Sphinx

from zscap.cli import app as application


def commands(app: Sphinx) -> str:
    """Markdown with a section for each command: usage, help, and its arguments and options."""
    lines = []
    for name, command in typer.main.get_command(application).commands.items():
        usage = command.get_usage(typer.Context(command, info_name=f"zscap {name}")).removeprefix("Usage: ")
        rows = [row(each) for each in command.params if not each.hidden]
        lines += [f"## zscap {name}", "", "```text", usage.replace(" []...", "").replace(" []", ""), "```", ""]
        lines += [re.sub(r"--[\w-]+", r"`\g<0>`", command.help or ""), ""]
        if rows:
            lines += ["| argument or option | what it says | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def row(parameter) -> str:
    """A line of a command's table."""
    argument = parameter.param_type_name == "argument"
    names = [f"`{parameter.metavar or parameter.name}`"] if argument else [f"`{name}`" for name in parameter.opts]
    if not argument and parameter.metavar:
        names[-1] = f"{names[-1][:-1]} {parameter.metavar}`"
    default = "" if parameter.default in (None, (), False) else f"`{parameter.default}`"
    return f"| {', '.join(names)} | {parameter.help or ''} | {'required' if parameter.required else default} |"
