"""Print all that is to be known of the standard streams."""
import sys

for stream, original in ((sys.stdin, sys.__stdin__), (sys.stdout, sys.__stdout__),
                         (sys.stderr, sys.__stderr__)):
    print(stream is original, type(stream), stream.encoding, stream.errors, stream.newlines,
          stream.line_buffering, getattr(stream, 'write_through', None), stream.isatty(),
          stream.mode, stream.name, stream.fileno(), stream.closed, stream.readable(),
          stream.writable())
    raw = getattr(stream.buffer, 'raw', stream.buffer)
    print(stream.buffer, raw, raw.closefd, stream.seekable())
for stream in (sys.stdout, sys.stderr):
    try:
        print(stream.tell())
    except OSError as error:
        print(error)
