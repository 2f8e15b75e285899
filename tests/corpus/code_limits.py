"""Lower own limits and run into one."""
import resource
import signal

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
print(signal.getsignal(signal.SIGXFSZ))
try:
    with open('large', 'wb', buffering=0) as large:
        print(large.write(b'x' * 900), large.write(b'x' * 900))
        large.write(b'x')
except OSError as error:
    print(error)
