"""Open text in the default encoding."""
import io

with open('text.txt', 'w') as target:
    print(target.encoding, target.errors, target.newlines, target.line_buffering)
    target.write('plain\n')
with open('bytes.txt', 'wb') as target:
    target.write('ä\n'.encode())
with open('bytes.txt') as source:
    print(ascii(source.read()), io.DEFAULT_BUFFER_SIZE)
