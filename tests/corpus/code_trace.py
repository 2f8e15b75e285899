"""Watch oneself with a tracer and a profiler."""
import cProfile
import sys

seen = []


def work():
    """Be watched."""
    return sum(range(3))


sys.settrace(lambda frame, event, arg: seen.append((event, frame.f_code.co_name)))
work()
sys.settrace(None)
print(seen)
profile = cProfile.Profile()
profile.runcall(work)
print(sorted(entry.code if isinstance(entry.code, str) else entry.code.co_name
             for entry in profile.getstats()))
sys.setprofile(None)
