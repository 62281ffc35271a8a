"""The `minidl` command, also python -m minidl."""

import sys


def main():
    """Run the command line and return its exit status; say in one line what to install where it is missing."""
    try:
        from minidl.cli import run
    except ModuleNotFoundError as error:
        if error.name in ("click", "rich"):
            print(
                f"minidl: {error.name} is missing; the command line needs: pip install 'minidl[train]'", file=sys.stderr
            )
            return 2
        raise
    return run()


if __name__ == "__main__":
    sys.exit(main())
