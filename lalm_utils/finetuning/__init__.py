"""IDK datasets by K of N samples, and LoRA on them."""
