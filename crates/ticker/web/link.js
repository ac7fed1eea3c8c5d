// The connection to the server: one WebSocket at a time, opened again when it is lost. Messages go
// in and out as objects; what they mean is the business of feed.js.
//
// States: connecting, live, stale (open, but the heartbeat is overdue), reconnecting (waiting until
// `retryAtMs`). A browser does not show the page pings and pongs, so silence is judged by the
// heartbeat that the protocol promises within `heartbeat_ms` of silence: after three of them the
// prices are called stale and a ping asks whether anybody is there; after eight the socket is given
// up without waiting for its close handshake, which a dead link would draw out for minutes.

const FIRST_RETRY_MS_MAX = 5000; // RFC 6455 section 7.2.3: the first delay is random, 0 to 5 s
const RETRY_MS_MAX = 60_000; // then the window doubles up to this
const ANNOUNCED_RETRY_MS_MAX = 600_000; // a server that says longer is not believed
const SETTLED_AFTER_MS = 15_000; // a connection that lasted this long starts the back-off anew
const OPEN_MS_MAX = 10_000; // from the attempt to the first message
const STALE_AFTER_HEARTBEATS = 3;
const DEAD_AFTER_HEARTBEATS = 8;
const HEARTBEAT_MS_DEFAULT = 1000;
const WATCH_EVERY_MS = 250;
const PAUSED_AFTER_MS = 5000; // the page itself did not run: says nothing about the link

/** Milliseconds to wait before attempt `attempt` (0 is the first after a loss). */
export function retryDelayMs(attempt, announcedMs, random = Math.random) {
  if (announcedMs !== null) return announcedMs;
  if (attempt === 0) return random() * FIRST_RETRY_MS_MAX;
  const window = Math.min(RETRY_MS_MAX, FIRST_RETRY_MS_MAX * 2 ** attempt);
  return window / 2 + random() * (window / 2);
}

export class Link {
  /** connecting, live, stale or reconnecting. */
  state = "connecting";
  /** When the next attempt is due, on the clock of performance.now(). */
  retryAtMs = 0;
  /** When the link last became live, or null. */
  liveSinceMs = null;
  /** When anything was last heard. */
  heardMs = 0;
  /** Messages received since the page was opened. */
  received = 0;
  /** Connections lost since the page was opened. */
  losses = 0;
  /** Why the last connection was lost, in words; empty when there is nothing to say. */
  reason = "";

  #url;
  #protocol;
  #listener;
  #socket = null;
  #answers = new Map(); // request id -> what to call with the reply
  #nextId = 1;
  #attempt = 0;
  #announcedRetryMs = null;
  #heartbeatMs = HEARTBEAT_MS_DEFAULT;
  #attemptedMs = 0;
  #watchedMs = 0;
  #retryTimer = null;

  /** `listener` has opened(), lost(), message(object) and stateChanged(). */
  constructor(url, protocol, listener) {
    this.#url = url;
    this.#protocol = protocol;
    this.#listener = listener;
  }

  /** Connects, and stays connected from then on. */
  start() {
    this.#watchedMs = performance.now();
    setInterval(() => this.#watch(), WATCH_EVERY_MS);
    addEventListener("online", () => this.retryNow());
    // A page kept in the back/forward cache must not hold a socket, and needs one when it returns.
    addEventListener("pagehide", () => this.#lose("the page was left"));
    addEventListener("pageshow", (event) => event.persisted && this.retryNow());
    this.#connect();
  }

  /** Ends the wait for the next attempt. */
  retryNow() {
    if (this.state === "reconnecting") this.#connect();
  }

  /** Sends a request; `answered` is called with its ack, pong or error, or never if the link is lost. */
  request(method, params, answered) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    const id = this.#nextId;
    this.#nextId += 1;
    if (answered) this.#answers.set(id, answered);
    this.#socket.send(JSON.stringify({ id, method, params }));
  }

  #connect() {
    clearTimeout(this.#retryTimer);
    this.#attemptedMs = performance.now();
    this.#answers.clear();
    const socket = new WebSocket(this.#url, this.#protocol);
    this.#socket = socket;
    // A socket that was given up may still speak: only the current one is listened to.
    const current = (act) => (event) => this.#socket === socket && act(event);
    socket.onopen = current(() => this.#listener.opened());
    socket.onmessage = current((event) => this.#receive(event.data));
    socket.onclose = current((event) => this.#lose(closeReason(event)));
    this.#enter("connecting");
  }

  #receive(text) {
    this.received += 1;
    this.heardMs = performance.now();
    if (this.state !== "live") this.#becomeLive();
    const message = parse(text);
    if (message === null) return;
    if (message.type === "welcome") this.#welcome(message);
    if (message.code === "server_shutdown") this.#announce(message.retry_ms);
    const answered = this.#answers.get(message.id);
    if (answered) {
      this.#answers.delete(message.id);
      answered(message);
    } else {
      this.#listener.message(message);
    }
  }

  #becomeLive() {
    if (this.state === "connecting") this.liveSinceMs = this.heardMs;
    this.reason = "";
    this.#enter("live");
  }

  #welcome(message) {
    if (message.heartbeat_ms > 0) {
      this.#heartbeatMs = Math.max(message.heartbeat_ms, WATCH_EVERY_MS);
    }
  }

  #announce(retryMs) {
    const known = Number.isFinite(retryMs) && retryMs >= 0;
    this.#announcedRetryMs = known ? Math.min(retryMs, ANNOUNCED_RETRY_MS_MAX) : null;
    this.reason = "the server is shutting down";
  }

  #lose(reason) {
    if (this.#socket === null) return;
    const abandoned = this.#socket;
    this.#socket = null;
    abandoned.close();
    const now = performance.now();
    if (this.liveSinceMs !== null) {
      this.losses += 1;
      if (now - this.liveSinceMs > SETTLED_AFTER_MS) this.#attempt = 0;
    }
    this.liveSinceMs = null;
    this.reason = this.#announcedRetryMs === null ? reason : this.reason;
    const delay = retryDelayMs(this.#attempt, this.#announcedRetryMs);
    this.#announcedRetryMs = null;
    this.#attempt += 1;
    this.retryAtMs = now + delay;
    this.#retryTimer = setTimeout(() => this.#connect(), delay);
    this.#listener.lost();
    this.#enter("reconnecting");
  }

  // Runs every quarter of a second: silence, and attempts that lead nowhere.
  #watch() {
    const now = performance.now();
    const paused = now - this.#watchedMs > PAUSED_AFTER_MS;
    this.#watchedMs = now;
    // The machine slept: what arrived meanwhile is heard after this timer, so silence counts from now.
    if (paused) this.heardMs = now;
    if (this.state === "connecting" && now - this.#attemptedMs > OPEN_MS_MAX) {
      this.#lose("no answer from the server");
    }
    const silentHeartbeats = (now - this.heardMs) / this.#heartbeatMs;
    if (this.state === "live" && silentHeartbeats > STALE_AFTER_HEARTBEATS) {
      this.#enter("stale");
      this.request("ping");
    }
    if (this.state === "stale" && silentHeartbeats > DEAD_AFTER_HEARTBEATS) {
      this.#lose("the server fell silent");
    }
  }

  #enter(state) {
    this.state = state;
    this.#listener.stateChanged();
  }
}

// A message that cannot be read is no reason to drop the connection: the next one may be readable.
function parse(text) {
  try {
    const message = JSON.parse(text);
    return typeof message === "object" ? message : null;
  } catch {
    console.warn("a message that is not JSON was ignored");
    return null;
  }
}

function closeReason(event) {
  if (event.code === 1006) return "the connection broke";
  const words = event.reason ? `${event.code}, ${event.reason}` : String(event.code);
  return `the server closed the connection (${words})`;
}
