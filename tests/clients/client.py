"""A client in Python: `client.py LIBRARY PORT` reads requests as JSON lines and prints a status for each.

All go over one session, or connection, of http.client, requests, httpx or aiohttp. A request is
``{"method", "path", "type", "accept", "size", "text", "chunked"}``: the text, with blanks up to the size.
"""

import asyncio
import http.client
import json
import sys


def body_of(request):
    body = request["text"].encode()
    return body + b" " * (request["size"] - len(body))


def pieces(body):
    return (body[at : at + 65536] for at in range(0, len(body), 65536))


def headers_of(request):
    return {"Content-Type": request["type"]} | ({"Accept": request["accept"]} if request["accept"] else {})


def by_http_client(port, requests):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for request in requests:
        body = body_of(request)
        content = pieces(body) if request["chunked"] else body
        connection.request(
            request["method"], request["path"], content, headers_of(request), encode_chunked=request["chunked"]
        )
        answer = connection.getresponse()
        answer.read()
        yield answer.status


def by_requests(port, requests):
    import requests as library

    with library.Session() as session:
        for request in requests:
            body = body_of(request)
            yield session.request(
                request["method"], f"http://127.0.0.1:{port}{request['path']}",
                data=pieces(body) if request["chunked"] else body, headers=headers_of(request), timeout=30,
            ).status_code  # fmt: skip


def by_httpx(port, requests):
    import httpx

    with httpx.Client(timeout=30) as client:
        for request in requests:
            body = body_of(request)
            yield client.request(
                request["method"], f"http://127.0.0.1:{port}{request['path']}",
                content=pieces(body) if request["chunked"] else body, headers=headers_of(request),
            ).status_code  # fmt: skip


def by_aiohttp(port, requests):
    import aiohttp

    async def ask():
        statuses = []
        async with aiohttp.ClientSession() as session:
            for request in requests:
                body = body_of(request)

                async def stream(body=body):
                    for piece in pieces(body):
                        yield piece

                url = f"http://127.0.0.1:{port}{request['path']}"
                content = stream() if request["chunked"] else body
                async with session.request(request["method"], url, data=content, headers=headers_of(request)) as answer:
                    await answer.read()
                    statuses.append(answer.status)
        return statuses

    yield from asyncio.run(ask())


LIBRARIES = {
    "http.client": by_http_client, "requests": by_requests, "httpx": by_httpx, "aiohttp": by_aiohttp,
}  # fmt: skip

if __name__ == "__main__":
    for status in LIBRARIES[sys.argv[1]](int(sys.argv[2]), [json.loads(line) for line in sys.stdin]):
        print(status)
