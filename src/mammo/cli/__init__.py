"""The command line, `python -m mammo`: one file per command."""
