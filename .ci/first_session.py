"Print the Python code under the README's heading 'first session'."
import re
import sys
from pathlib import Path

readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
block = re.search(r"^#+ [^\n]*first session.*?^``` ?\{?\.?python\}?\n(.*?)^```", readme, re.I | re.M | re.S)
if not block: sys.exit("README.md needs a heading with the words 'first session' and a block of Python code below it")
print(block[1], end="")
