"""The command line: one file a command, and the only code of the package that prints."""
