"""The commands of the durable queue: one module per verb."""
