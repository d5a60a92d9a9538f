"Print the code of a notebook as a script for `ipython`, lines for the shell included: `python .ci/cells.py NOTEBOOK`."
import json
import re
import sys
from pathlib import Path

for cell in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["cells"]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "code" and not re.search(r"^#\s*\|\s*(slow|cuda)", source, re.M): print(source, end="\n\n")
