"""Write docs/commands.md anew from the parsers of all commands: `python3 docs/commands.py`."""

import argparse
import importlib
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE / 'commands.md'

sys.path.insert(0, str(HERE.parent / 'src'))

from stagerunner.cli import COMMANDS  # noqa: E402
from stagerunner.parser import make_parser  # noqa: E402

HEAD = '''\
# Commands

Made from the parsers by `python3 docs/commands.py`; `--help` of each command says the same.
What each is good for is told in [the README](../README.md#command-line).

Flags of every command:

| flag | meaning |
|---|---|
'''

#: Flags that every command has.
COMMON = ('pipeline', 'json', 'version', 'help')


def parser_of(name):
    """Return the parser of a command, as the command line makes it."""
    module = name.replace(' ', '.').replace('-', '_')
    return make_parser(name, importlib.import_module(f'stagerunner.commands.{module}'), COMMANDS)


def page():
    """Return the text of the page."""
    parts = [HEAD, ''.join(map(row, common_actions())), '\n', contents()]
    return ''.join([*parts, *map(section, COMMANDS)])


def common_actions():
    return [action for name in COMMON for action in parser_of('plan')._actions
            if action.dest == name]


def contents():
    links = (f'[{name}](#{anchor(name)})' for name in COMMANDS)
    return '\n'.join(wrapped(' · '.join(links), ' · ')) + '\n'


def wrapped(text, separator, width=130):
    """Yield lines of at most so many characters, broken between entries."""
    line = ''
    for entry in text.split(separator):
        if line and len(line) + len(separator) + len(entry) > width:
            yield f'{line} ·'
            line = ''
        line += f'{separator if line else ""}{entry}'
    yield line


def anchor(name):
    return re.sub(r'[^\w-]', '', name.replace(' ', '-'))


def section(name):
    """Return what is to be said of one command."""
    parser = parser_of(name)
    actions = [action for action in parser._actions if action.dest not in COMMON]
    rows = ''.join(map(row, actions))
    table = f'| argument | meaning |\n|---|---|\n{rows}\n' if rows else ''
    examples = '\n'.join(line.strip() for line in re.split(
        r'^examples?:$', parser.epilog or '', flags=re.M)[1].split('\n\n')[0].splitlines()
        if line.strip())
    return (f'\n## {name}\n\n{COMMANDS[name]}\n\n```text\n{usage(parser.prog, actions)}\n```\n\n'
            f'{table}```bash\n{examples}\n```\n')


def usage(prog, actions):
    """Return how a command is called, in lines of a readable length."""
    lines, indent = [prog], ' ' * (len(prog) + 1)
    for action in sorted(actions, key=lambda action: bool(action.option_strings)):
        word = spelled(action)
        if action.option_strings or action.nargs in ('?', '*'):
            word = f'[{word}]'
        if len(lines[-1]) + 1 + len(word) > 96:
            lines.append(indent + word)
        else:
            lines[-1] += f' {word}'
    return '\n'.join(lines)


def spelled(action):
    """Return an argument with what it takes."""
    value = action.metavar or (action.choices and '|'.join(map(str, action.choices))) or ''
    if not action.option_strings:
        return f'{value or action.dest}{"..." if action.nargs in ("*", "+") else ""}'
    flag = action.option_strings[-1]
    return f'{flag} {value or action.dest.upper()}' if action.nargs != 0 else flag


def row(action):
    """Return the line of one argument in a table."""
    others = ''.join(f', `{flag}`' for flag in action.option_strings[:-1])
    cell = spelled(action).replace('|', '\\|')
    said = (action.help or '') % dict(vars(action), prog='')
    said = said.replace('|', '\\|')
    if action.choices and action.metavar is None and not action.option_strings:
        said += f' ({", ".join(map(str, action.choices))})'
    if isinstance(action, argparse._AppendAction) and 'several times' not in said:
        said += ' (may be given several times)'
    return f'| `{cell}`{others} | {said} |\n'


if __name__ == '__main__':
    PAGE.write_text(page(), encoding='utf-8')
    print(f'written: {PAGE}')
