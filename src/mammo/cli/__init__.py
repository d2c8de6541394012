"""The command line: `python -m mammo`."""
