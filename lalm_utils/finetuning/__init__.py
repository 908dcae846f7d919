"""IDK datasets by K of N samples, and LoRA on them: supervised, by preference, and to say whether it is sure."""
