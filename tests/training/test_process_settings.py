"""Settings of the process: made once, and never against the user's environment."""

import ctypes

import pytest

from espnet_ext.training import process_settings

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def test_kernel_cache_is_enlarged_unless_the_user_has_set_it(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("DNNL_PRIMITIVE_CACHE_CAPACITY", raising=False)
    assert process_settings.set_kernel_cache(5000)
    assert process_settings.os.environ[VARIABLE] == "5000"
    assert not process_settings.set_kernel_cache(6000)
    assert process_settings.os.environ[VARIABLE] == "5000"
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("DNNL_PRIMITIVE_CACHE_CAPACITY", "7")  # oneDNN's former name of it
    assert not process_settings.set_kernel_cache(5000)
    assert VARIABLE not in process_settings.os.environ


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="the C library is not glibc"
)
def test_malloc_keeps_memory_unless_the_user_has_set_it(monkeypatch):
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert process_settings.keep_freed_memory() == ["MALLOC_MMAP_THRESHOLD_"]


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(process_settings, "_mallopt", lambda: None)
    assert process_settings.keep_freed_memory() == []
