"""Stand in the way of whoever wants `ctypes`, so that there is no fence."""

raise ImportError('no ctypes here')
