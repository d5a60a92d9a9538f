"A module imports only from modules of a lower rank: that is the reading order of the book."
import ast
import re

import pytest

from project import PACKAGE, modules, read

RANKS = re.findall(r"^\| \d+ \| (.*?) \|", read("CONTRIBUTING.md"), re.M)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in re.findall(r"`(.*?)`", names)}


def imported(source, module):
    "The modules of this package that `source`, the text of `module`, imports anywhere: within functions too."
    package = ["dl4smlm", *module.split(".")[:-1]]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) + 1 - node.level] if node.level else []
            base = ".".join(base + ([node.module] if node.module else []))
            names = [alias.name for alias in node.names if alias.name != "__version__"]
            deeper = [f"{base}.{name}" for name in names if f"{base}.{name}" in FULL_NAMES]
            if names: found |= set(deeper) or {base}
    return {name.removeprefix("dl4smlm").removeprefix(".") for name in found if name.split(".")[0] == "dl4smlm"}


FULL_NAMES = {f"dl4smlm.{name}" for name in [*RANK, *modules()]}


@pytest.mark.parametrize("module", modules())
def test_imports_only_lower_ranks(module):
    assert module in RANK, f"give {module} a rank in the table of CONTRIBUTING.md"
    for other in imported(modules()[module].read_text(encoding="utf-8"), module):
        if not other and module.startswith("cli."): continue  # commands may use the package as users do
        assert other in RANK, f"{module} imports {other or 'the whole package'}, which has no rank: name a module"
        assert RANK[other] < RANK[module], (f"{module} (rank {RANK[module]}) imports {other} (rank {RANK[other]}); "
                                            "move what they share into a module of a lower rank")


@pytest.mark.parametrize("module", modules())
def test_models_and_learner_do_not_know_each_other(module):
    others = imported(modules()[module].read_text(encoding="utf-8"), module)
    if module.startswith("models."): assert "learner" not in others
    if module == "learner": assert not [other for other in others if other.startswith("models")]


def test_packages_import_nothing():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent == PACKAGE: continue  # the lazy names of the top level have their own test
        assert not imported(path.read_text(encoding="utf-8"), ".".join(path.relative_to(PACKAGE).parts))


@pytest.mark.parametrize("source, module, expected", [
    ("from dl4smlm.core import set_seed", "viz", {"core"}),
    ("from .core import set_seed", "viz", {"core"}),
    ("from ..layers import conv", "models.srcnn", {"layers"}),
    ("from .contract import check_model", "models.srcnn", {"models.contract"}),
    ("from . import contract", "models.srcnn", {"models.contract"}),
    ("import dl4smlm.models.zoo as zoo", "cli.film", {"models.zoo"}),
    ("def f():\n    from dl4smlm import learner", "models.srcnn", {"learner"}),
    ("from . import film, train", "cli.commands", {"cli.film", "cli.train"}),
    ("import dl4smlm", "viz", {""}),
    ("from dl4smlm import __version__", "viz", set()),
    ("import torch\nfrom torch import nn", "viz", set()),
])
def test_the_walk_sees_every_kind_of_import(source, module, expected):
    assert imported(source, module) == expected
