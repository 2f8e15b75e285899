"""Print that the main thread is the main thread."""
import _thread
import os
import threading

main = threading.main_thread()
print(main.name, main is threading.current_thread(), main.ident == threading.get_ident(),
      main.daemon)
print(threading.active_count(), _thread._count(),
      os.listdir('/proc/self/task') == [str(os.getpid())])
print(getattr(main, 'native_id', None) in (None, os.getpid()), _thread.stack_size())
other = threading.Thread(target=lambda: print(threading.current_thread().name.split(' ')[0]))
other.start()
other.join()
