"""Renders a share of a split: `python -m lalm_utils.mini.benchmark SPLIT FOLDER FIRST STEP SIZE` (see `splits`)."""

import sys
from pathlib import Path

from lalm_utils.mini.benchmark.splits import plan, render_clips

if __name__ == "__main__":
    split, folder, first, step, size = sys.argv[1:]
    render_clips(plan(split, size=int(size))[int(first) :: int(step)], Path(folder))
