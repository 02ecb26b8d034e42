"""Print the README's two set-up commands, one a line, with their folders moved.

python readme_commands.py README.rst FOLDER
"""

import re
import sys
from pathlib import Path

readme, folder = sys.argv[1:]
blocks = re.findall(
    r"^\.\. code-block:: bash\n\n((?:    .*\n|\n)+)", Path(readme).read_text(), re.M
)
for block in blocks:
    line = " ".join(part.strip().rstrip("\\").strip() for part in block.strip().splitlines())
    if "-m venv" in line:
        for name in ("demo-env", "tests-env", "results"):
            line = re.sub(rf"(?<![\w/-]){name}(?![\w-])", f"{folder}/{name}", line)
        print(line)
