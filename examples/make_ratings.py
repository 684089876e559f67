"""Make ratings.csv and films.csv: 300 people rate some of 60 films, by tastes that the tables do not contain.

Every person and every film has a position among four genres. A rating is high if both are close, so averages of people
or films do not explain it: a model has to learn pairs. films.csv has the genre and the year of each film, for
catalogues and filters.
"""

import csv
from pathlib import Path

import numpy as np

GENRES = ["comedy", "crime", "horror", "romance"]
N_PEOPLE, N_FILMS, N_RATINGS = 300, 60, 9000


def main() -> None:
    """Write the files into the current folder."""
    random = np.random.default_rng(7)
    genre_of_film = np.arange(N_FILMS) % len(GENRES)
    taste = random.normal(size=(N_PEOPLE, len(GENRES)))
    quality = 0.3 * random.normal(size=N_FILMS)
    pairs = random.permutation(N_PEOPLE * N_FILMS)[:N_RATINGS]
    names = [f"{GENRES[genre_of_film[film]]} {film // len(GENRES) + 1}" for film in range(N_FILMS)]
    with Path("films.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["film", "genre", "year"])
        rows.writerows([name, name.split()[0], 1960 + film] for film, name in enumerate(names))
    with Path("ratings.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["person", "film", "rating"])
        for person, film in zip(*divmod(pairs, N_FILMS), strict=True):
            liking = 3.2 + 0.9 * taste[person, genre_of_film[film]] + quality[film] + 0.4 * random.normal()
            rows.writerow([f"person {person}", names[film], int(np.clip(round(liking), 1, 5))])


if __name__ == "__main__":
    main()
