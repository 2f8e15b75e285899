"""The commands of the audit: one module per verb."""
