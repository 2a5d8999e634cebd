"""Every command of the project, as the words that start it."""

import re

from paths import ROOT

_SHARED = ("common", "peers")  # by the parts
BENCHMARKS = sorted(
    path.stem
    for path in (ROOT / "scripts" / "benchmarks").glob("[!_]*.py")
    if path.stem not in _SHARED
)
_RUN = sorted(
    (str(path.relative_to(ROOT)),)
    for folder in ("scripts", "scripts/examples", "pipelines")
    for path in (ROOT / folder).glob("*.py")
    if re.search(r'^if __name__ == "__main__":\n(    .*\n)*    .*\brun\(', path.read_text(), re.M)
)
# These do without `pipelines`, and so have the help of absl alone.
EXAMPLES = [words for words in _RUN if "from pipelines" not in (ROOT / words[0]).read_text()]
COMMANDS = [words for words in _RUN if words not in EXAMPLES]
COMMANDS += [("scripts/analyze.py", name) for name in ("curves", "frequency", "alpha", "spectrum")]
COMMANDS += [("scripts/benchmark.py", part) for part in BENCHMARKS]
