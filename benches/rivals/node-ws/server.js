// Echo and broadcast servers on Node ws: `node server.js echo` and `node server.js broadcast`.
//
// Written as its documentation shows: `new WebSocketServer`, a listener for `message`, `send`. With
// bufferutil beside it, which ws takes for masks where Node has none of its own. It writes each
// message at once; there is no documented way to gather several.
//
// The flags, the first line of output and what is published are those of the servers in Rust beside
// this folder. With more than one thread it is Node's cluster, a process each.

import cluster from "node:cluster";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { parseArgs } from "node:util";
import { WebSocketServer } from "ws";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    listen: { type: "string", default: "127.0.0.1:9002" },
    threads: { type: "string", default: "1" },
    "max-message": { type: "string" },
    deflate: { type: "boolean", default: false },
    // What it does anyway.
    "flush-each": { type: "boolean", default: false },
    size: { type: "string", default: "125" },
    rate: { type: "string", default: "0" },
    burst: { type: "string", default: "128" },
    // Both: it speaks wss://, by Node's own TLS, which is OpenSSL.
    "tls-certificate": { type: "string" },
    "tls-key": { type: "string" },
  },
});
const task = positionals[0];
if (!["echo", "broadcast"].includes(task)) {
  console.error("usage: node server.js echo|broadcast [--listen ADDRESS] [--threads N] ...");
  process.exit(2);
}
const [size, rate, burst, threads] = ["size", "rate", "burst", "threads"].map((name) => Number(values[name]));

/** Opens the server; `listening` gets its address. */
function listen(listening) {
  const colon = values.listen.lastIndexOf(":");
  const place = {
    host: values.listen.slice(0, colon),
    port: Number(values.listen.slice(colon + 1)),
    backlog: 4096,
  };
  const options = { perMessageDeflate: values.deflate };
  if (values["max-message"] !== undefined) options.maxPayload = Number(values["max-message"]);
  let server;
  const listens = () => {
    const { address, port } = server.address();
    listening(`${address}:${port}`);
  };
  if (values["tls-certificate"] === undefined) {
    server = new WebSocketServer({ ...options, ...place }, listens);
  } else {
    const [cert, key] = ["tls-certificate", "tls-key"].map((name) => readFileSync(values[name]));
    const outer = createServer({ cert, key });
    server = new WebSocketServer({ ...options, server: outer });
    outer.listen(place, listens);
  }
  return server;
}

function serveEcho(server) {
  server.on("connection", (connection) => {
    connection.on("error", () => {});
    connection.on("message", (data, isBinary) => connection.send(data, { binary: isBinary }));
  });
}

function serveBroadcast(server, askForStart) {
  server.on("connection", (connection) => {
    connection.on("error", () => {});
    connection.on("message", (data, isBinary) => {
      if (!isBinary && data.toString() === "start") askForStart();
    });
  });
}

let publishing = false;
let number = 0n;

/** Publishes until the last connection has gone. */
function start(server) {
  if (publishing) return;
  publishing = true;
  number = 0n;
  if (rate > 0) {
    pace(server);
  } else {
    // Two turns, of half a burst each, are on their way at most.
    publishTurn(server);
    if (burst > 1) publishTurn(server);
  }
}

function message() {
  const payload = Buffer.alloc(size, ".");
  payload.writeBigUInt64LE(process.hrtime.bigint(), 0);
  payload.writeBigUInt64LE(number++, 8);
  return payload;
}

/** Publishes half a burst, and the next when the slowest connection has taken this one. */
function publishTurn(server) {
  if (server.clients.size === 0) {
    publishing = false;
    return;
  }
  const turn = Math.ceil(burst / 2);
  for (let sent = 1; sent < turn; sent++) {
    const payload = message();
    for (const connection of server.clients) connection.send(payload);
  }
  const payload = message();
  let unfinished = server.clients.size;
  for (const connection of server.clients) {
    connection.send(payload, () => {
      // Not from within this turn, which a connection that takes all at once would make endless.
      if (--unfinished === 0) setImmediate(publishTurn, server);
    });
  }
}

/** Publishes at even intervals. */
function pace(server) {
  const begun = performance.now();
  let due = 0;
  const timer = setInterval(() => {
    if (server.clients.size === 0) {
      clearInterval(timer);
      publishing = false;
      return;
    }
    while (((performance.now() - begun) * rate) / 1000 > due) {
      const payload = message();
      for (const connection of server.clients) connection.send(payload);
      due++;
    }
  }, Math.max(1, Math.floor(1000 / rate)));
}

if (threads > 1 && cluster.isPrimary) {
  let announced = false;
  for (let worker = 0; worker < threads; worker++) {
    cluster.fork().on("message", ({ address }) => {
      if (address === undefined) {
        for (const other of Object.values(cluster.workers)) other.send("start");
      } else if (!announced) {
        announced = true;
        console.log(`listening on ${address}`);
      }
    });
  }
} else {
  const alone = cluster.isPrimary;
  const server = listen((address) => (alone ? console.log(`listening on ${address}`) : process.send({ address })));
  if (task === "echo") {
    serveEcho(server);
  } else {
    serveBroadcast(server, () => (alone ? start(server) : process.send({})));
    process.on("message", () => start(server));
  }
}
