"""One module per command: `add_arguments(parser)` and `main(arguments, system) -> exit code`."""
