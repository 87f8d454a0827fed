"""The runtime's sub-commands: `add_arguments(parser)` and `run(args) -> exit code` each."""
