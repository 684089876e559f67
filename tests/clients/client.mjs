// A client in Node: `node client.mjs LIBRARY PORT`, as client.py; LIBRARY is http (one kept-alive socket) or fetch.
import http from "node:http";
import readline from "node:readline";

const [library, port] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

const bodyOf = (request) => {
  const text = Buffer.from(request.text);
  return Buffer.concat([text, Buffer.alloc(request.size - text.length, " ")]);
};
const headersOf = (request) => ({ "Content-Type": request.type, ...(request.accept && { Accept: request.accept }) });
function* pieces(body) {
  for (let at = 0; at < body.length; at += 65536) yield body.subarray(at, at + 65536);
}

const byHttp = (request) =>
  new Promise((resolve, reject) => {
    const body = bodyOf(request);
    const headers = headersOf(request);
    if (!request.chunked) headers["Content-Length"] = body.length;
    const sent = http.request({ port, host: "127.0.0.1", method: request.method, path: request.path, headers, agent });
    sent.on("error", reject);
    sent.on("response", (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode));
    });
    for (const piece of pieces(body)) sent.write(piece);
    sent.end();
  });

const byFetch = async (request) => {
  const body = bodyOf(request);
  const content = request.chunked
    ? new ReadableStream({
        start(controller) {
          for (const piece of pieces(body)) controller.enqueue(piece);
          controller.close();
        },
      })
    : body;
  const url = `http://127.0.0.1:${port}${request.path}`;
  const answer = await fetch(url, { method: request.method, headers: headersOf(request), body: content, duplex: "half" });
  await answer.arrayBuffer();
  return answer.status;
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  console.log(await { http: byHttp, fetch: byFetch }[library](JSON.parse(line)));
}
agent.destroy();
