"""A web server for page.html: it asks an endpoint for ten films, and sends the answer to the page.

    fm serve model &
    python serve_page.py --user person --seen ratings.csv

and open http://127.0.0.1:8000. A browser accepts answers only from the server of the page, and cannot sign requests to
AWS, so a site needs a server between its page and the endpoint. This one knows what each user has seen, and a page can
only request what `recommend` below allows. It needs only Python's standard library. For an endpoint on AWS, let `ask`
call boto3's `invoke_endpoint` instead.
"""

import argparse
import contextlib
import csv
import json
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("page.html")
LARGEST_REQUEST = 65_536
#: Films that can be chosen from.
MOST_FILMS = 1000


class Refusal(Exception):
    """A request that is not answered: a status and a sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Films:
    """What the page can ask for.

    Parameters
    ----------
    endpoint : str
        Address of the endpoint's /invocations.
    user : str
        The column of users.
    seen : dict of str to list of str
        Films that each user has seen already.
    labels : list of float
        Ratings that a new user can give.
    """

    def __init__(self, endpoint: str, user: str, seen: dict[str, list[str]], labels: list[float]) -> None:
        self.endpoint = endpoint
        self.user = user
        self.seen = seen
        self.labels = labels

    def ask(self, instance: dict[str, Any]) -> dict[str, Any]:
        """Send one request to the endpoint."""
        body = json.dumps({"instances": [instance]}).encode()
        request = urllib.request.Request(self.endpoint, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["predictions"][0]
        except urllib.error.HTTPError as error:
            raise Refusal(error.code, json.load(error)["detail"]) from None
        except OSError as error:
            raise Refusal(502, f"The endpoint {self.endpoint} does not answer: {error}") from None

    def films(self) -> dict[str, Any]:
        """Give all films, and what else the page has to know."""
        films = [item["columns"] for item in self.ask({"top_k": MOST_FILMS})["items"]]
        item = next(iter(films[0])) if films else ""
        return {"item": item, "films": sorted(films, key=lambda film: str(film[item])), "labels": self.labels}

    def recommend(self, request: dict[str, Any]) -> dict[str, Any]:
        """Give the ten films for a user, or for a history of ratings."""
        instance: dict[str, Any] = {"top_k": 10, "explain": 5, "filter": request.get("filter", {})}
        user, history = request.get("user"), request.get("history")
        if user is not None:
            instance["columns"] = {self.user: user}
            instance["exclude"] = self.seen.get(str(user), [])
        if history is not None:
            instance |= {"history": history, "history_of": self.user}
        return self.ask(instance)


def handler_of(films: Films) -> type[BaseHTTPRequestHandler]:
    """Make the class that answers the browser."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_GET(self) -> None:
            if self.path in ("/", "/index.html"):
                self._send(200, "text/html; charset=utf-8", PAGE.read_bytes())
            else:
                self._answer({"/films": films.films}, ())

        def do_POST(self) -> None:
            try:
                request = self._request()
            except Refusal as refusal:
                self._refuse(refusal)
                return
            self._answer({"/recommend": films.recommend}, (request,))

        def _request(self) -> dict[str, Any]:
            # a form of another site could not say this type, nor send this object
            size = self.headers.get("Content-Length", "")
            if self.headers.get_content_type() != "application/json" or not size.isdecimal():
                raise Refusal(415, "Expected a body of JSON.")
            if int(size) > LARGEST_REQUEST:
                raise Refusal(413, f"The request has {size} bytes, expected at most {LARGEST_REQUEST}.")
            try:
                request = json.loads(self.rfile.read(int(size)))
            except ValueError:
                raise Refusal(400, "The body is not JSON.") from None
            if not isinstance(request, dict):
                raise Refusal(400, "The body is not a JSON object.")
            return request

        def _answer(self, views: dict[str, Any], arguments: tuple[Any, ...]) -> None:
            try:
                if self.path not in views:
                    raise Refusal(404, f"There is nothing at {self.path[:80]}.")
                body = json.dumps(views[self.path](*arguments)).encode()
            except Refusal as refusal:
                self._refuse(refusal)
            else:
                self._send(200, "application/json", body)

        def _refuse(self, refusal: Refusal) -> None:
            self.close_connection = True  # a body may be unread
            self._send(refusal.status, "application/json", json.dumps({"detail": str(refusal)}).encode())

        def _send(self, status: int, media_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

    return Handler


def seen_of(path: Path | None, user: str) -> dict[str, list[str]]:
    """Read who has seen what: CSV with a column of users; its other first column is the films."""
    found: dict[str, list[str]] = {}
    if path is None:
        return found
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        names = rows.fieldnames or []
        if user not in names:
            sys.exit(f"{path} has no column {user!r}, expected one: found {', '.join(names)}")
        item = next(name for name in names if name != user)
        for row in rows:
            found.setdefault(row[user], []).append(row[item])
    return found


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", default="http://127.0.0.1:8080/invocations", help="(%(default)s)")
    parser.add_argument("--user", default="person", metavar="COLUMN", help="the column of users (default: person)")
    parser.add_argument("--seen", type=Path, metavar="CSV", help="table of users and the films that they have seen")
    parser.add_argument("--labels", default="1,2,3,4,5", help="ratings that a new user can give (default: 1,2,3,4,5)")
    parser.add_argument("--port", type=int, default=8000, help="(8000)")
    arguments = parser.parse_args()
    films = Films(
        arguments.endpoint,
        arguments.user,
        seen_of(arguments.seen, arguments.user),
        [float(label) for label in arguments.labels.split(",")],
    )
    with ThreadingHTTPServer(("127.0.0.1", arguments.port), handler_of(films)) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
