"""`python -m mammo`."""

import gc

from mammo.cli.main import main

if __name__ == "__main__":
    # What a command imports lives as long as its process: to look for garbage after every 700 objects, as Python does,
    # is a sixth of the time of TensorFlow's import.
    gc.set_threshold(50_000, 20, 100)
    main()
