"""Use executors of threads and processes."""
import concurrent.futures


def work(value):
    """Fail for one value."""
    if value == 2:
        raise ValueError('two')
    return value + 1


if __name__ == '__main__':
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        print(list(threads.map(work, [0, 1])))
    with concurrent.futures.ProcessPoolExecutor(1) as processes:
        print(processes.submit(work, 1).result())
        print(repr(processes.submit(work, 2).exception()))
