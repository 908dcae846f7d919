"""The commands of `python -m lalm_utils`: run, score, finetune, bench."""
