"""Where minidl looks for data: the user's folder, the user's cache, the system's shared data sets."""

import os
import sys
from pathlib import Path

# Where Debian's dataset-* packages and a local administrator put data, whatever XDG_DATA_DIRS says.
SYSTEM_SHARES = ("/usr/local/share", "/usr/share")


def data_root() -> Path | None:
    """The folder that `$MINIDL_DATA` names, or None where the variable is unset or empty."""
    value = os.environ.get("MINIDL_DATA")
    return Path(value).expanduser() if value else None


def cache_dir() -> Path:
    """The folder for everything minidl may fetch or build again. It need not exist yet.

    `$MINIDL_CACHE` if set, else `$XDG_CACHE_HOME/minidl` if set, else `~/Library/Caches/minidl` on macOS and
    `~/.cache/minidl` elsewhere.

    Source: XDG Base Directory Specification 0.8, which also says that a relative path in an XDG variable is
    to be ignored.
    """
    value = os.environ.get("MINIDL_CACHE")
    if value:
        return Path(value).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(xdg):
        return Path(xdg) / "minidl"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "minidl"


def system_dataset_dirs() -> list[Path]:
    """The system's `datasets` folders in the order of the search: `$XDG_DATA_DIRS`, then `SYSTEM_SHARES`."""
    shares = [share for share in os.environ.get("XDG_DATA_DIRS", "").split(":") if os.path.isabs(share)]
    return list(dict.fromkeys(Path(share) / "datasets" for share in (*shares, *SYSTEM_SHARES)))
