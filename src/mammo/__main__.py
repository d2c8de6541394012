"""`python -m mammo`."""

from mammo.cli.main import main

if __name__ == "__main__":
    main()
