"""Run benchmarks and put their output in the documentation, between the marks of each.

    python benchmarks/record.py train pipeline

A page marks the place of a benchmark's output with ``<!-- NAME -->`` and ``<!-- /NAME -->``. Give arguments of a
benchmark in the same word: ``"train --minutes 15"``.
"""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

from common import ROOT

PAGES = sorted([*ROOT.glob("benchmarks/results/*.md"), *ROOT.glob("docs/*/*.md")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", nargs="+")
    for words in map(shlex.split, parser.parse_args().benchmark):
        name = words[0]
        script = Path(__file__).with_name(f"{name}.py")
        marked = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        page = next((page for page in PAGES if marked.search(page.read_text())), None)
        if page is None:
            parser.error(f"no page of docs/ has a place marked <!-- {name} -->")
        done = subprocess.run([sys.executable, script, *words[1:]], stdout=subprocess.PIPE, text=True)
        print(done.stdout)
        if done.returncode:
            parser.error(f"{name} ended with status {done.returncode}: {page.name} is left as it was")
        command = shlex.join(["python", f"benchmarks/{name}.py", *words[1:]])
        # headings of the output go below those of the page
        output = re.sub(r"^#(#?) ", r"###\1 ", done.stdout, flags=re.MULTILINE).strip()
        said = re.sub(r"((?:^(?:machine|software|when) .*\n)+)", r"```\n\1```\n", output, flags=re.MULTILINE)
        text = f"\n`{command}`\n\n{said}\n\n"
        page.write_text(marked.sub(lambda found, text=text: found[1] + text + found[2], page.read_text()))


if __name__ == "__main__":
    main()
