"""Which numbers this processor multiplies quickly."""

# torch's names of units that multiply bfloat16: of x86 processors and of Arm's.
_BF16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")
_OLDER = "_is_avx512_bf16_supported"


def has_bfloat16():
    """Tell whether this processor multiplies bfloat16 matrices in hardware.

    With such a unit networks take about half the time that they take in float32; without it
    bfloat16 is emulated and takes four times as long. Imports torch.

    Returns
    -------
    bool

    Examples
    --------
    >>> from sklfusion._dtype import has_bfloat16
    >>> has_bfloat16() in (True, False)
    True
    """
    import torch

    if not _kernels_may():
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return any(found.get(unit, False) for unit in _BF16_UNITS)
    # An older torch tells of one unit only, if of any.
    return hasattr(torch.cpu, _OLDER) and bool(getattr(torch.cpu, _OLDER)())


def _kernels_may():
    """Whether oneDNN is not held to an older processor, as by ``ONEDNN_MAX_CPU_ISA``."""
    import torch

    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return asked is None or bool(asked())
