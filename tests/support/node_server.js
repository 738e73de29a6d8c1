// Node's own HTTP server as a backend: node node_server.js PORT [MILLISECONDS A CONNECTION WAITS FOR A REQUEST]
"use strict";

const crypto = require("crypto");
const fs = require("fs");
const http = require("http");

const [port, content, idle] = process.argv.slice(2);

const server = http.createServer((request, response) => {
  if (request.url === "/stream") {
    fs.createReadStream(content).pipe(response);
  } else if (request.url === "/hash") {
    const found = crypto.createHash("sha256");
    request.on("data", (data) => found.update(data));
    request.on("end", () => response.end(found.digest("hex")));
  } else {
    request.resume();
    request.on("end", () => response.end(`${request.socket.remotePort}`));
  }
});

if (idle) server.keepAliveTimeout = Number(idle);

// RFC 6455: what comes goes back, unmasked.
server.on("upgrade", (request, socket, head) => {
  const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = crypto.createHash("sha1").update(key).digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
  socket.write(`Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let data = head;
  const take = (more) => {
    data = Buffer.concat([data, more]);
    for (let frame = first(data); frame; frame = first(data)) {
      data = data.subarray(frame.size);
      socket.write(frame.answer);
      if (frame.closes) socket.end();
    }
  };
  socket.on("data", take);
  socket.on("error", () => socket.destroy());
  take(Buffer.alloc(0));
});

// Give the answer to the frame at the beginning, and how long that is; nothing while it is not whole.
function first(data) {
  if (data.length < 6) return null;
  const short = data[1] & 0x7f;
  const extra = short === 127 ? 8 : short === 126 ? 2 : 0;
  if (data.length < 6 + extra) return null;
  const length = extra === 8 ? Number(data.readBigUInt64BE(2)) : extra === 2 ? data.readUInt16BE(2) : short;
  const start = 6 + extra;
  if (data.length < start + length) return null;
  const mask = data.subarray(start - 4, start);
  const payload = Buffer.from(data.subarray(start, start + length)).map((byte, at) => byte ^ mask[at & 3]);
  const head = Buffer.from(data.subarray(0, 2 + extra));
  head[1] &= 0x7f;
  const opcode = head[0] & 0x0f;
  if (opcode === 9) head[0] = (head[0] & 0xf0) | 10;
  return { answer: Buffer.concat([head, payload]), size: start + length, closes: opcode === 8 };
}

server.listen(Number(port), "127.0.0.1");
