"""What a dataset holds out: domain retention."""
