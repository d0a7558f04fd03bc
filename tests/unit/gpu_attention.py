"""PyTorch's attention for GPUs on a processor: its signatures, layouts and limits.

It stands behind `GpuKernels` in tests, so that all of a GPU's way but the kernels runs here.
"""

from functools import partial

import torch

from scripts.lib.attention.kernels import HALVES, GpuKernels

CPU_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def varlen_attn(
    query,
    key,
    value,
    cu_seq_q,
    cu_seq_k,
    max_q,
    max_k,
    *,
    return_aux=None,
    scale=None,
    window_size=(-1, -1),
    enable_gqa=False,
    seqused_k=None,
    block_table=None,
    num_splits=None,
    dtypes=None,
):
    """Attend as torch.nn.attention.varlen.varlen_attn does; *dtypes* are all that it takes."""
    _check_flash_alone()
    _check_dtypes(dtypes, query, key, value)
    assert cu_seq_q is cu_seq_k and cu_seq_q.dtype == torch.int32
    lengths = cu_seq_q.diff().tolist()
    assert max_q == max_k == max(lengths) and sum(lengths) == len(query) == len(key)
    assert window_size == (-1, 0), "not causal"
    assert enable_gqa == (query.shape[1] != key.shape[1])
    assert (seqused_k, block_table, num_splits) == (None, None, None)
    parts = [
        CPU_FLASH(*(t.transpose(0, 1)[None] for t in one), 0.0, True, scale=scale)
        for one in zip(query.split(lengths), key.split(lengths), value.split(lengths), strict=True)
    ]
    out = torch.cat([out[0].transpose(0, 1) for out, _ in parts])
    if return_aux is None or not return_aux.lse:
        return out
    return out, torch.cat([sums[0] for _, sums in parts], 1).detach()  # (heads, tokens)


def flash(query, key, value, dropout_p, is_causal, return_debug_mask, *, scale=None, dtypes=None):
    """Attend as torch.ops.aten._scaled_dot_product_flash_attention does."""
    _check_dtypes(dtypes, query, key, value)
    assert query.shape[:2] == key.shape[:2] == value.shape[:2]
    assert (dropout_p, is_causal, return_debug_mask) == (0.0, False, False)
    out, sums = CPU_FLASH(query, key, value, 0.0, False, scale=scale)
    return out, sums, None, None, query.shape[2], key.shape[2], None, None, None


def gpu_kernels(*, dtypes=None, **changed):
    """Return the kernels of a GPU with these behind them.

    Args:
        dtypes: All that they take, as HALVES; None for whatever the processor does.
        changed: Functions to take instead.
    """
    own = {
        "varlen": partial(varlen_attn, dtypes=dtypes),
        "flash": partial(flash, dtypes=dtypes),
        "name": "stand-in",
    }
    return GpuKernels(**(own | changed))


def strict_kernels():
    """Return kernels that take what a GPU's take, and nothing else."""
    return gpu_kernels(dtypes=HALVES)


def _check_dtypes(dtypes, *tensors):
    if dtypes and not all(tensor.dtype in dtypes for tensor in tensors):
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")


def _check_flash_alone():
    from torch.backends import cuda

    assert cuda.flash_sdp_enabled() and not cuda.cudnn_sdp_enabled()
