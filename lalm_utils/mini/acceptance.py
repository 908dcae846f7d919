"""The command `python -m lalm_utils.mini.acceptance`; its code is in `lalm_utils.mini.training.acceptance`."""

from lalm_utils.mini.training.acceptance import main

if __name__ == "__main__":
    main()
