"""Let a thread outlive the main one."""
import atexit
import threading

main_is_over = threading.Event()


def work():
    """Wait for the main thread to end."""
    threading.main_thread().join()
    print('main thread alive:', threading.main_thread().is_alive())
    print('thread ends', threading.current_thread().daemon)


atexit.register(print, 'handlers')
threading.Thread(target=work).start()
print('main ends')
