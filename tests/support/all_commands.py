"""Every command of the project, as the words that start it."""

from paths import ROOT

BENCHMARKS = sorted(path.stem for path in (ROOT / "scripts" / "benchmarks").glob("[!_]*.py"))
COMMANDS = sorted(
    (str(path.relative_to(ROOT)),)
    for folder in ("scripts", "pipelines")
    for path in (ROOT / folder).glob("*.py")
    if "command_line.run(" in path.read_text()
)
COMMANDS += [("scripts/benchmark.py", part) for part in BENCHMARKS if part != "common"]
