"""Work in processes of a server that imports the script."""
import multiprocessing


def work(value):
    """Say by which name this is known."""
    return value + 1, __name__


if __name__ == '__main__':
    with multiprocessing.get_context('forkserver').Pool(1) as pool:
        print(pool.map(work, [1, 2]))
