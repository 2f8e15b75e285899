"""Receivers of events: what people and their scripts look at during and after a run."""
