"""The durable queue: what is stored, how one entry is worked on, and many at once."""
