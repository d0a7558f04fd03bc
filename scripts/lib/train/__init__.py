"""rules/train.smk: one LoRA adapter, trained on rendered shards."""
