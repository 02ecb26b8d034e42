"""Print the oldest Python and the lowest versions of packages that setup.cfg declares.

python lowest_versions.py setup.cfg

The first line is the Python, as 3.10; each other line is a package to install, as numpy==1.26.*
"""

import configparser
import re
import sys

config = configparser.ConfigParser()
config.read(sys.argv[1])
options = config["options"]
print(re.search(r"3\.\d+", options["python_requires"])[0])
declared = options["install_requires"] + config["options.extras_require"]["report"]
for name, version in re.findall(r"^([\w-]+) >= ([\d.]+)$", declared, re.M):
    print(f"{name}=={version}.*")
