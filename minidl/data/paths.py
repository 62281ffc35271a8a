"""Where minidl looks for data: the user's folder and the system's shared data sets."""

import os
from pathlib import Path

# Where Debian's dataset-* packages and a local administrator put data, whatever XDG_DATA_DIRS says.
SYSTEM_SHARES = ("/usr/local/share", "/usr/share")


def data_root() -> Path | None:
    """The folder that `$MINIDL_DATA` names, or None where the variable is unset or empty."""
    value = os.environ.get("MINIDL_DATA")
    return Path(value).expanduser() if value else None


def system_dataset_dirs() -> list[Path]:
    """The system's `datasets` folders in the order of the search: `$XDG_DATA_DIRS`, then `SYSTEM_SHARES`."""
    shares = [share for share in os.environ.get("XDG_DATA_DIRS", "").split(":") if os.path.isabs(share)]
    return list(dict.fromkeys(Path(share) / "datasets" for share in (*shares, *SYSTEM_SHARES)))
