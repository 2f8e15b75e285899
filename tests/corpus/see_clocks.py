"""Print that clocks of the process begin with it."""
import os
import time

print(time.process_time() < 10, time.perf_counter() > 0, time.thread_time() < 10,
      os.times().user < 10)
print(time.get_clock_info('monotonic').adjustable, time.monotonic() > 0)
