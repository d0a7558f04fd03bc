"""Products of bfloat16 in float32: rounded once, where they are large and a processor needs it."""

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from scripts.lib.machine import bfloat16
from scripts.lib.machine.bfloat16 import FEWEST_ROWS, Float32Products, fast_products, products


def numbers(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(*shape, generator=generator).to(torch.bfloat16)


PRODUCTS = {
    "linear": functional.linear,
    "linear with bias": lambda row, weight: functional.linear(row, weight, weight[:, 0]),
    "matmul": lambda row, weight: torch.matmul(row, weight.T),
    "operator": lambda row, weight: row @ weight.T,
    "mm": lambda row, weight: row.mm(weight.T),
    "bmm": lambda row, weight: torch.bmm(row[None], weight.T[None])[0],
    "addmm": lambda row, weight: torch.addmm(weight[:, 0], row, weight.T),
    "addmm of a tensor": lambda row, weight: weight[:, 0].addmm(row, weight.T, beta=2),
    "baddbmm": lambda row, weight: torch.baddbmm(weight[:, 0], row[None], weight.T[None])[0],
}


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_product_is_rounded_once(product):
    row, weight = numbers(32, 96), numbers(24, 96)
    with Float32Products():
        found = PRODUCTS[product](row, weight)
    exact = PRODUCTS[product](row.double(), weight.double())
    assert found.dtype == torch.bfloat16
    # Rounding is to the nearest of 8 significant bits; the sums in float32 are off by far less.
    assert ((found.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-4).all()


class Multiplied(TorchDispatchMode):
    """Keeps what is multiplied, in which numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = set[torch.dtype]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run *func*."""
        if func.overloadpacket.__name__ in {"mm", "bmm", "addmm", "baddbmm"}:
            self.seen |= {one.dtype for one in args if isinstance(one, torch.Tensor)}
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("product", PRODUCTS)
def test_no_product_of_many_rows_is_left_in_bfloat16(product):
    with Multiplied() as multiplied, Float32Products():
        PRODUCTS[product](numbers(32, 96), numbers(24, 96))
    assert multiplied.seen == {torch.float32}


def test_a_large_weight_is_widened_in_blocks_to_the_same_result(monkeypatch):
    row, weight = numbers(2, 16, 96), numbers(25, 96)
    with Float32Products():
        whole = functional.linear(row, weight, weight[:, 0])
        monkeypatch.setattr(bfloat16, "BLOCK", 7 * 96)
        blocks = functional.linear(row, weight, bias=weight[:, 0])
    assert torch.allclose(blocks.float(), whole.float(), rtol=2**-7)


def test_few_rows_other_numbers_and_given_results_are_left_to_pytorch():
    wide, weight = numbers(FEWEST_ROWS, 96), numbers(24, 96)
    few = wide[: FEWEST_ROWS - 1]
    plain = functional.linear(few, weight)
    there = torch.empty(FEWEST_ROWS, 24, dtype=torch.bfloat16)
    with Float32Products():
        assert torch.equal(functional.linear(few, weight), plain)
        assert functional.linear(wide.float(), weight.float()).dtype == torch.float32
        torch.mm(wide, weight.T, out=there)
    assert torch.equal(there, torch.mm(wide, weight.T))


class Asked:
    """What has a model, and a method that computes with it."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.model = torch.nn.Linear(96, 24).to(dtype)
        self.model.dtype = dtype

    @fast_products
    def answer(self, row: torch.Tensor, *, fails: bool = False) -> torch.Tensor:
        """Compute, or fail."""
        if fails:
            raise ValueError
        return self.model(row)


@pytest.mark.parametrize(
    ("dtype", "arithmetic", "changed"),
    [
        (torch.bfloat16, False, True),
        (torch.bfloat16, True, False),
        (torch.float32, False, False),
    ],
)
def test_products_change_only_where_a_processor_has_no_arithmetic(
    dtype, arithmetic, changed, monkeypatch
):
    monkeypatch.setattr(bfloat16, "computes_bfloat16", lambda: arithmetic)
    assert isinstance(products(dtype), Float32Products) is changed


def test_a_method_computes_so_and_leaves_nothing_behind(monkeypatch):
    monkeypatch.setattr(bfloat16, "computes_bfloat16", lambda: False)
    asked, row = Asked(torch.bfloat16), numbers(64, 96)
    native = asked.model(row)
    with Float32Products():
        wide = asked.model(row)
    assert torch.equal(asked.answer(row), wide)
    with pytest.raises(ValueError):
        asked.answer(row, fails=True)
    assert torch.equal(asked.model(row), native)
