"""Where minidl keeps what it can make or fetch again."""

import os
import sys
from pathlib import Path


def cache_root():
    """`$MINIDL_CACHE`, else `$XDG_CACHE_HOME/minidl`, else `~/Library/Caches/minidl` (macOS) or `~/.cache/minidl`.

    It need not exist. A relative path in an XDG variable is ignored, as the XDG Base Directory Specification 0.8 asks.

    Raises:
        RuntimeError: there is no home directory.
    """
    if os.environ.get("MINIDL_CACHE"):
        return Path(os.environ["MINIDL_CACHE"]).expanduser().absolute()
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return Path(given) / "minidl"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "minidl"
