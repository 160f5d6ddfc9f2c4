"""Breaks the CUDA context of this process, as a faulty kernel does: no later call of it succeeds."""

from __future__ import annotations

import ctypes

_KERNEL = b"""
.version 7.0
.target sm_50
.address_size 64
.visible .entry astray() {
    .reg .b64 %address;
    .reg .b32 %value;
    mov.u64 %address, 16;
    mov.u32 %value, 1;
    st.global.u32 [%address], %value;
    ret;
}
"""


def poison() -> None:
    """Run a kernel that writes where nothing is, in the context that ONNX Runtime uses too."""
    driver = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    module, kernel = ctypes.c_void_p(), ctypes.c_void_p()
    _done(driver.cuInit(0))
    _done(driver.cuDeviceGet(ctypes.byref(device), 0))
    _done(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    _done(driver.cuCtxSetCurrent(context))
    _done(driver.cuModuleLoadData(ctypes.byref(module), _KERNEL))
    _done(driver.cuModuleGetFunction(ctypes.byref(kernel), module, b"astray"))
    _done(driver.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None))
    if not driver.cuCtxSynchronize():
        raise AssertionError("the kernel did no harm")


def _done(code: int) -> None:
    if code:
        raise AssertionError(f"the CUDA driver gives error {code}")
