"""Settings of the process that make training on a CPU faster: oneDNN's kernels, malloc.

They change no result. A variable of the environment that is already set keeps its value.
"""

import ctypes
import os
from collections.abc import Callable

# oneDNN compiles a kernel per operation and shape of its input, and keeps this many. `fast_layers`
# needs less than a thousand. A kernel of a matrix product in bfloat16 takes half a megabyte, so
# this number also bounds the memory of other trainings.
_KERNELS = 2048
_KERNEL_VARIABLES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")
# glibc returns larger blocks to the system as soon as they are freed, and has to ask for them in
# the next step again: the kernel fills each page with zeros. 32 MiB is the largest value allowed.
_MMAP_THRESHOLD = 32 << 20
# Free memory at the end of the heap that is kept. It bounds what the process holds without need.
_TRIM_THRESHOLD = 1 << 30
_MALLOPT = {  # variable → number of the parameter in malloc.h, value
    "MALLOC_MMAP_THRESHOLD_": (-3, _MMAP_THRESHOLD),
    "MALLOC_TRIM_THRESHOLD_": (-1, _TRIM_THRESHOLD),
}


def set_kernel_cache(kernels: int = _KERNELS) -> bool:
    """Make oneDNN keep more kernels; return whether the setting was changed.

    oneDNN reads the variable when it compiles its first kernel, so this must be called before the
    first convolution or matrix product.
    """
    if any(name in os.environ for name in _KERNEL_VARIABLES):
        return False
    os.environ[_KERNEL_VARIABLES[0]] = str(kernels)
    return True


def keep_freed_memory() -> list[str]:
    """Make glibc's malloc keep freed memory for the next step; return the changed parameters.

    With another C library nothing is changed.
    """
    changed = []
    mallopt = _mallopt()
    for variable, (parameter, value) in _MALLOPT.items():
        if mallopt is not None and variable not in os.environ and mallopt(parameter, value):
            changed.append(variable)
    return changed


def _mallopt() -> Callable[[int, int], int] | None:
    """Return the function `mallopt` of glibc; None if the C library is another."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  # raises AttributeError if it is not glibc
        return library.mallopt
    except (AttributeError, OSError, TypeError):
        return None


def prepare_cpu_training() -> None:
    """Make the settings of this module. Processes that this process starts inherit the first."""
    set_kernel_cache()
    keep_freed_memory()
