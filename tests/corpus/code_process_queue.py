"""Exchange things with a process."""
import multiprocessing


def work(queue, lock, value):
    """Fill."""
    with lock:
        value.value += 1
    queue.put('from the child')


if __name__ == '__main__':
    queue, lock = multiprocessing.Queue(), multiprocessing.Lock()
    value = multiprocessing.Value('i', 4)
    process = multiprocessing.Process(target=work, args=(queue, lock, value), name='worker')
    process.start()
    print(queue.get(timeout=60))
    process.join()
    print(process.exitcode, value.value, process.name)
