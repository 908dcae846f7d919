"""The command `python -m lalm_utils.mini.train`; its code is in `lalm_utils.mini.training.train`."""

from lalm_utils.mini.training.train import main

if __name__ == "__main__":
    main()
