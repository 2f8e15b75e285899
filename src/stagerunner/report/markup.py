"""Text of users inside HTML and SVG: nothing of it can become markup or break the file."""

from __future__ import annotations

import re

_SPECIAL = {'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;'}

#: What neither XML nor HTML can hold, in any spelling (controls, halves of pairs, what is no
#: character), and what would turn the direction of writing.
_IMPOSSIBLE = re.compile(
    '[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\u202a-\u202e\u2066-\u2069'
    + ''.join(chr(plane << 16 | last) for plane in range(17) for last in (0xfffe, 0xffff)) + ']')

_MARKUP = re.compile('[&<>"\']')


def escaped(text: str) -> str:
    r"""Return text that stands for itself in HTML and XML, also inside quotes.

    Control characters are shown as escapes.

    >>> escaped('<b a="1">'), escaped('\x1b[2J \ud800')
    ('&lt;b a=&quot;1&quot;&gt;', '\\x1b[2J \\ud800')
    """
    text = _IMPOSSIBLE.sub(lambda found: ascii(found.group())[1:-1], text)
    return _MARKUP.sub(lambda found: _SPECIAL[found.group()], text)


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters, cut in the middle.

    >>> shortened('a_name_that_is_long.txt', 12), shortened('short', 12)
    ('a_nam…ng.txt', 'short')
    """
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f'{text[:head]}…{text[len(text) - (most - 1 - head):]}'
