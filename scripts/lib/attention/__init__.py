"""Attention of rows that hold several sequences: for which models, and by which kernels."""
