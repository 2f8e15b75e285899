"""Starting, waiting for and stopping processors: the only package that touches processes."""
