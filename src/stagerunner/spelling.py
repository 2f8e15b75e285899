"""Spell free text (an item's id, a key of a limit) as the name of one file.

Two texts never get the same name, and reading a name one sees the text.  On a
disk that folds letter case, names that differ in case only are one file.
What the runner itself calls a folder beside outputs is here too.
"""

from __future__ import annotations

import os
import re

from stagerunner.files import digest_bytes

#: What stands for itself; everything else becomes `%` and two hex digits per byte of UTF-8.
_PLAIN = re.compile(rb'[A-Za-z0-9._-]')

#: Names that Windows gives to devices, whatever follows after a dot.
_DEVICE = re.compile(r'(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\.|$)', re.IGNORECASE)

#: The same, one by one.
DEVICES = frozenset(['con', 'prn', 'aux', 'nul'] + [
    f'{port}{digit}' for port in ('com', 'lpt') for digit in range(1, 10)])

#: No name is longer, in bytes; what is cut ends in `~` and so many hex digits of a digest.
LONGEST, _DIGITS = 100, 8


#: Names of stages and runs: one path component everywhere, also on Windows.
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,99}')


def is_name(text: str) -> bool:
    """True for what a stage or a run may be called.

    >>> is_name('stage_2.b'), is_name('.x'), is_name('x.'), is_name('NUL.txt')
    (True, False, False, False)
    """
    return bool(NAME.fullmatch(text)) and not text.endswith('.') and not _DEVICE.match(text)


def encode(text: str) -> str:
    """Return `text` percent-encoded, as the contract says for the ids of items.

    >>> encode('doi:10.1234/x'), encode('..'), encode('con.txt'), encode('paper_1.pdf')
    ('doi%3A10.1234%2Fx', '%2E%2E', '%63on.txt', 'paper_1.pdf')
    """
    # Half a surrogate pair stands for a byte of a file name that is not UTF-8.
    raw = text.encode('utf-8', 'surrogatepass')
    n_dots = len(raw) - len(raw.lstrip(b'.'))
    n_forced = 1 if _DEVICE.match(text) else n_dots
    name = ''.join(
        chr(byte) if index >= n_forced and _PLAIN.match(raw, index) else f'%{byte:02X}'
        for index, byte in enumerate(raw))
    if len(name) > LONGEST:
        kept = name[:LONGEST - _DIGITS - 1]
        # Not in the middle of an encoded byte.
        kept = re.sub('%.?$', '', kept)
        return f'{kept}~{digest_bytes(raw)[:_DIGITS]}'
    # Nothing else is spelled as a single percent sign.
    return name or '%'


def private_folder(output_dir: str, task: str) -> str:
    """Return where a task writes before its outputs are published.

    >>> private_folder('data/work', 'copy')
    'data/work/.copy.partial'
    """
    return os.path.join(output_dir, f'.{task}.partial')
