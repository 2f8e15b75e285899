"""Work in forked processes."""
import multiprocessing
import os


def square(value):
    """Say where it runs, too."""
    return value * value, multiprocessing.current_process().name.split('-')[0], __name__


if __name__ == '__main__':
    context = multiprocessing.get_context('fork')
    with context.Pool(2) as pool:
        print(pool.map(square, range(5)))
    print(multiprocessing.current_process().name, multiprocessing.active_children(),
          multiprocessing.current_process().pid == os.getpid())
