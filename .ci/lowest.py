"""Write each requirement of pyproject.toml at the lowest version that it allows, for `pip -c`.

A bound must name a release that exists: pip takes it as it stands.
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)>=(?P<version>[\w.]+)(?P<marker>;.*)?")


def lowest(requirement: str) -> str:
    """Return `name==version` of `name>=version`; raises ValueError if there is no such bound."""
    found = REQUIREMENT.fullmatch(requirement)
    if found is None:
        raise ValueError(f"{requirement!r} has no lower bound alone")
    return f"{found['name']}=={found['version']}{found['marker'] or ''}"


def main() -> None:
    """Write the lines to standard output."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *(one for extra in extras for one in extra)]
    ours = f"{project['name']}["  # an extra that takes in another
    lines = {lowest(one) for one in requirements if not one.startswith(ours)}
    sys.stdout.write("".join(f"{line}\n" for line in sorted(lines)))


if __name__ == "__main__":
    main()
