"""Print what every signal does."""
import signal

with open('/proc/self/status') as lines:
    print([line.split() for line in lines if line.startswith(('Sig', 'Shd'))][1:])
for number in range(1, signal.NSIG):
    try:
        print(number, signal.getsignal(number))
    except ValueError:
        continue
print(signal.set_wakeup_fd(-1), signal.getitimer(signal.ITIMER_REAL),
      signal.pthread_sigmask(0, []))
