"""The commands of `python -m lalm_utils`: run, score, audit, finetune, bench."""
