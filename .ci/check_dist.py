"""Check that the wheel and the source distribution hold what they should.

python check_dist.py DIST
"""

import sys
import tarfile
import zipfile
from pathlib import Path

dist = Path(sys.argv[1])
(wheel,) = dist.glob("*.whl")
(source,) = dist.glob("*.tar.gz")
with zipfile.ZipFile(wheel) as archive:
    in_wheel = archive.namelist()
    licences = [archive.read(name) for name in in_wheel if name.endswith("LICENSE")]
with tarfile.open(source) as archive:
    in_source = [name.partition("/")[2] for name in archive.getnames()]
modules = [p.as_posix() for p in Path("nipype_group").rglob("*.py")]
data = [p.as_posix() for p in Path("nipype_group/data").iterdir() if p.is_file()]
missing = [m for m in [*modules, *data, "nipype_group/py.typed"] if m not in in_wheel]
foreign = [n for n in in_wheel if not n.startswith("nipype_group")]
wanted = [
    "setup.cfg",
    "README.rst",
    "CHANGES.rst",
    "LICENSE",
    "CITATION.cff",
    "workflows/association.py",
]
wanted += ["docs/conf.py", "tests/conftest.py", *modules]
absent = [name for name in wanted if name not in in_source]
if missing or foreign or absent:
    sys.exit(f"wheel lacks {missing}, holds {foreign}; source distribution lacks {absent}")
if licences != [Path("LICENSE").read_bytes()]:
    sys.exit("the wheel lacks the text of the licence, or has another")
print(f"{wheel.name}: {len(in_wheel)} files; {source.name}: {len(in_source)} files")
