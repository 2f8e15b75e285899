"""Print the working directory and what else is inherited."""
import os

print(os.getcwd(), os.path.abspath('.'), sorted(os.listdir('.')))
mask = os.umask(0o22)
print(oct(mask), os.nice(0), os.getuid(), os.geteuid(), os.getgid(), sorted(os.getgroups()))
print(len(os.sched_getaffinity(0)), os.sched_getscheduler(0))
