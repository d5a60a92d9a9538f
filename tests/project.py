"Where things are in this checkout, for the tests and the scripts beside them."
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
PACKAGE = ROOT / "dl4smlm"

INSTALL_AND_DEMO = "python -m pip install -c constraints.txt -e . && dl4smlm demo --out demo"
INSTALL_AND_TEST = "python -m pip install -c constraints.txt -e '.[dev]' && python tests/run.py"


def settings():
    "The values of settings.ini."
    config = ConfigParser()
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def notebooks():
    "All notebooks of the book, in the order of their names; checkpoints and hidden folders left out."
    inside = [(path, path.relative_to(NBS).parts) for path in sorted(NBS.rglob("*.ipynb"))]
    return [path for path, parts in inside if not any(part.startswith((".", "_")) for part in parts)]


def modules():
    "The exported modules, as names below the package: `core`, `models.contract`."
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in ("__init__.py", "_modidx.py")]
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}


def read(path):
    "The text of a file below the root."
    return (ROOT / path).read_text(encoding="utf-8")
