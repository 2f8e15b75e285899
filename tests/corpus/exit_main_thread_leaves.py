"""Raise in the main thread while another one works."""
import threading

gate = threading.Event()
threading.Thread(target=lambda: (gate.wait(), print('thread ends'))).start()
threading.Timer(0.05, gate.set).start()
raise RuntimeError('main fails')
