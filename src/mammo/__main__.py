"""`python -m mammo`."""

from mammo.cli import main

if __name__ == "__main__":
    main()
