"""What lies under `state/` and in the markers: one module per kind of file."""
