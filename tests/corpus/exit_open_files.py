"""Leave files open with something unwritten."""
import io

text = open('left_open.txt', 'w')
text.write('text' * 100)
raw = open('left_open.bin', 'wb', buffering=1 << 20)
raw.write(b'bytes' * 100)


class Wrapper(io.TextIOWrapper):
    """A stream of one's own."""


own = Wrapper(open('own.txt', 'wb'), encoding='utf-8')
own.write('own')
with open('whole.txt', 'w') as whole:
    whole.write('whole')
