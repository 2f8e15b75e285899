"""Leave a daemon thread behind."""
import threading
import time

started = threading.Event()


def work():
    """Print once, then sleep for longer than anybody waits."""
    print('daemon', flush=True)
    started.set()
    time.sleep(3600)


threading.Thread(target=work, daemon=True).start()
started.wait()
print('main ends')
