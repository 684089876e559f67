"""Draw docs/pictures/recommended.svg: films recommended to a new user, with scores and reasons.

    python docs/pictures/recommended.py

The commands are those of a person with a table: `fm train`, `fm catalogue`, `fm recommend`. The ratings are those of
MovieLens 100K (../shared/data/tables), which may not be copied into the project; without them there is nothing to draw.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT.parent / "shared/data/tables"
OUT = Path(__file__).with_suffix(".svg")

#: The ratings of a new user.
HISTORY = {
    "Alien (1979)": 5,
    "Terminator, The (1984)": 5,
    "Blade Runner (1982)": 5,
    "Sleepless in Seattle (1993)": 2,
    "Dirty Dancing (1987)": 1,
}
N_FILMS = 5
WIDTH, ROW, TOP = 840, 40, 92
SAYS = "Five recommended films with their scores and the reasons"

STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.small { font-size: 12px; fill: #59636e } .head { font-weight: 600 } .number { font-variant-numeric: tabular-nums }
.page { fill: #ffffff; stroke: #d1d9e0 } .line { stroke: #d1d9e0 }
.film { fill: #4878a8 } .genre { fill: #3f9e8c } .person { fill: #c77b30 } .below { opacity: .45 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .page { fill: #0d1117; stroke: #3d444d } .line { stroke: #3d444d }
  .film { fill: #6a9fd4 } .genre { fill: #58bda9 } .person { fill: #e09a52 }
}
"""


def main() -> None:
    """Train, recommend and draw."""
    if not TABLES.is_dir():
        sys.exit(f"no tables in {TABLES}: nothing to draw")
    ratings, films = (pd.read_parquet(TABLES / f"movielens_{part}.parquet") for part in ("ratings", "items"))
    genres = films.columns[6:]
    films["genres"] = ["|".join(genres[row == 1]) for row in films[genres].to_numpy()]
    films = films.drop_duplicates("movie_title").rename(columns={"movie_title": "film"})[["movie_id", "film", "genres"]]
    table = ratings.merge(films)[["user_id", "film", "genres", "rating"]]
    table["user_id"] = "user " + table["user_id"].astype(str)
    request = {
        "columns": {"user_id": "somebody new"},
        "history": [
            {"film": film, "genres": cell.split("|"), "label": HISTORY[film]}
            for film, cell in zip(films["film"], films["genres"], strict=True)
            if film in HISTORY
        ],
        "top_k": N_FILMS,
        "explain": 50,
    }
    with tempfile.TemporaryDirectory() as folder:
        table.to_csv(f"{folder}/ratings.csv", index=False)
        films[["film", "genres"]].to_csv(f"{folder}/films.csv", index=False)
        Path(folder, "request.jsonl").write_text(json.dumps(request) + "\n")
        fm("train", "ratings.csv", "--label", "rating", "--several", "genres:|", "--out", "model", cwd=folder)
        fm("catalogue", "model", "films.csv", "--item", "film", cwd=folder)
        answer = json.loads(fm("recommend", "model", "request.jsonl", cwd=folder))
    OUT.write_text(picture(answer["items"]))
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size} bytes")


def fm(*arguments: str, cwd: str) -> str:
    """Run a command of fm."""
    done = subprocess.run(
        [sys.executable, "-m", "fm_core", *arguments], cwd=cwd, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def reasons(explanation: dict) -> dict[str, float]:
    """Sum the shares of a score by what they are of: the film as all see it, its genres, this person's taste."""
    found = dict.fromkeys(("film", "genre", "person"), 0.0)
    for share in explanation["features"]:
        found["genre" if share["name"].startswith("genres=") else "film"] += share["share"]
    for share in explanation["pairs"]:
        kinds = {name.split("=")[0] for name in share["names"]}
        found["person" if "user_id" in kinds else "genre"] += share["share"]
    return found


def shortened(title: str) -> str:
    """Cut a title where it would reach the scores."""
    return title if len(title) <= 40 else title[:39].rstrip() + "…"


def picture(items: list[dict]) -> str:
    """Draw the films, best first."""
    rated = ", ".join(f"{film.split(' (')[0]} {'★' * stars}" for film, stars in HISTORY.items())
    height = TOP + ROW * len(items) + 44
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{SAYS}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="small" x="20" y="30">A new user rates: {escape(rated)}</text>',
        '<text class="head" x="20" y="66">Recommended</text>',
        '<text class="head" x="350" y="66">Score</text>',
        '<text class="head" x="420" y="66">Why: what each part adds to the average rating</text>',
        f'<line class="line" x1="20" x2="{WIDTH - 20}" y1="78" y2="78"/>',
    ]
    for number, item in enumerate(items):
        y = TOP + ROW * number
        drawn.append(f'<text x="20" y="{y + 19}">{escape(shortened(item["columns"]["film"]))}</text>')
        drawn.append(f'<text class="number" x="350" y="{y + 19}">{item["score"]:.2f}</text>')
        x = 420.0
        for kind, value in reasons(item["explanation"]).items():
            width = max(abs(value) * 220, 1)
            below = "" if value >= 0 else " below"
            drawn.append(
                f'<rect class="{kind}{below}" x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="20" rx="2"/>'
            )
            x += width + 2
        parts = " ".join(f"{value:+.2f}" for value in reasons(item["explanation"]).values())
        drawn.append(f'<text class="small number" x="{WIDTH - 20}" y="{y + 19}" text-anchor="end">{parts}</text>')
    y = height - 20
    for x, kind, text in (
        (420, "film", "the film itself"),
        (550, "genre", "its genres"),
        (660, "person", "this person's taste"),
    ):
        drawn.append(f'<rect class="{kind}" x="{x}" y="{y - 11}" width="12" height="12" rx="2"/>')
        drawn.append(f'<text class="small" x="{x + 18}" y="{y}">{text}</text>')
    drawn.append(f'<text class="small" x="20" y="{y}">Learned from MovieLens 100K by fm train</text>')
    return "\n".join([*drawn, "</svg>", ""])


if __name__ == "__main__":
    main()
