"""Work in started processes, which import the script again."""
import multiprocessing
import sys

print('imported as', __name__, sys.argv[1:], sys.path[0], flush=True)


class Job:
    """Goes through a pickle."""

    def __init__(self, value):
        self.value = value


def work(job):
    """Say by which name this is known."""
    return job.value * 2, __name__, type(job).__module__


if __name__ == '__main__':
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        print(pool.map(work, [Job(1), Job(2)]))
