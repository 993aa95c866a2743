"""Which numbers this processor multiplies quickly."""

import pytest

from sklfusion import _dtype
from sklfusion._dtype import has_bfloat16

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_tile": True, "amx_bf16": True}, True),
        ({"architecture": "aarch64", "bf16": True}, True),
    ],
)
def test_the_unit_decides(monkeypatch, found, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    monkeypatch.setattr(_dtype, "_kernels_may", lambda: True)
    assert has_bfloat16() is expected


def test_a_unit_that_the_kernels_may_not_use_counts_as_none(monkeypatch):
    found = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    monkeypatch.setattr(_dtype, "_kernels_may", lambda: False)
    assert has_bfloat16() is False


def test_an_older_torch_is_asked_its_own_way(monkeypatch):
    monkeypatch.setattr(_dtype, "_kernels_may", lambda: True)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert has_bfloat16() is True
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert has_bfloat16() is False
