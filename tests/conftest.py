"""Settings of every test run, notebooks' kernels included: no window, no model hub, quiet tokenizers."""

import os

os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
