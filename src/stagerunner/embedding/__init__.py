"""What a program that embeds the runner works with, behind `orchestrator_v2`."""
