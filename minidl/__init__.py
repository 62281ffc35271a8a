from pathlib import Path
if (Path(__file__).resolve().parents[1] / "setup.cfg").is_file():
    __path__.append(str(Path(__file__).resolve().parents[1]))
