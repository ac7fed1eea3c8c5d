// The subscriptions of this page, and the quotes that they bring. `watch` and `unwatch` say what is
// wanted; the feed brings the server in step with it by few requests, and again after a new
// connection: then it says up to which number it has each symbol, and a server that still knows those
// numbers goes on from there. Every update is checked: its `prev` must be the `seq` that was seen last
// for its symbol, and a checksum that comes with it must be that of the quote. Anything else is a gap:
// the symbol is subscribed anew, and its updates are left out until the snapshot has come, so a wrong
// price is never shown for long and never silently.
//
// Phases of a holding: absent (not asked for on this connection), asked (no answer yet), held (in
// sequence), refused (the server said no, `refusal` says why).

import { crc32 } from "./crc.js";
import { Quote } from "./quote.js";

const REQUESTS_EVERY_MS = 250; // two requests each: below the 10 requests/s that the server grants
const REFUSED_RATE_RETRY_MS = 3000;

export class Feed {
  /** Updates applied since the page was opened. */
  updates = 0;
  /** Breaks of a sequence, and wrong checksums, since the page was opened. */
  gaps = 0;
  /** Symbols that went on after a reconnect as if nothing had happened. */
  recovered = 0;
  /** Checksums that were right. */
  checked = 0;

  #link;
  #changed;
  #holdings = new Map(); // symbol -> holding
  #leaving = new Set(); // symbols to unsubscribe from
  #open = false;
  #timer = null;
  #sentMs = -REQUESTS_EVERY_MS;
  #maxRate;

  /** `changed(symbol)` is called after each change of a holding; many times a second. At most
   * `maxRate` updates of a symbol come in a second; 0: as they come. */
  constructor(link, maxRate, changed) {
    this.#link = link;
    this.#maxRate = maxRate;
    this.#changed = changed;
  }

  /** Changes how many updates of a symbol come in a second, also of those that are held. */
  setRate(maxRate) {
    this.#maxRate = maxRate;
    const known = [...this.#holdings].filter(([, { phase }]) => phase === "asked" || phase === "held");
    if (!this.#open || known.length === 0) return;
    const symbols = known.map(([symbol]) => symbol);
    this.#link.request("set", { channel: "ticker", symbols, max_rate: maxRate });
  }

  /** Starts to hold a symbol. */
  watch(symbol) {
    if (this.#holdings.has(symbol)) return;
    const nothing = { phase: "absent", epoch: null, seq: null, refusal: "" };
    this.#holdings.set(symbol, { quote: new Quote(), ...nothing });
    this.#schedule();
  }

  /** Stops to hold a symbol. */
  unwatch(symbol) {
    const holding = this.#holdings.get(symbol);
    if (!holding) return;
    this.#holdings.delete(symbol);
    if (holding.phase === "asked" || holding.phase === "held") this.#leaving.add(symbol);
    this.#schedule();
  }

  /** The holding of a symbol, or undefined. */
  holding(symbol) {
    return this.#holdings.get(symbol);
  }

  /** The symbols that are held or to be held. */
  symbols() {
    return [...this.#holdings.keys()];
  }

  /** A connection is open: everything is to be asked for. */
  opened() {
    this.#open = true;
    this.#sentMs = -REQUESTS_EVERY_MS;
    this.#schedule();
  }

  /** The connection is gone, and with it what the server knew of this page. */
  lost() {
    this.#open = false;
    this.#leaving.clear();
    for (const [symbol, holding] of this.#holdings) this.#enter(symbol, holding, "absent");
  }

  /** Takes a message that is not the reply to a request. Unknown ones are left alone. */
  message(message) {
    const holding = this.#holdings.get(message.symbol);
    if (!holding || message.channel !== "ticker") return;
    if (message.type === "snapshot") this.#snapshot(message, holding);
    if (message.type === "update") this.#update(message, holding);
    if (message.code === "resync_required") this.#resubscribe(message.symbol, holding);
  }

  #snapshot({ symbol, epoch, seq, data, crc }, holding) {
    holding.epoch = epoch ?? null;
    holding.seq = seq;
    holding.quote.replace(data ?? {});
    // Asking for another one would not help.
    if (!this.#check(symbol, holding, crc)) this.gaps += 1;
    this.#enter(symbol, holding, "held");
  }

  #update({ symbol, seq, prev, data, crc }, holding) {
    // Not held: a leftover of an earlier subscription; the snapshot will make up for it.
    if (holding.phase !== "held") return;
    if (prev !== holding.seq) {
      this.gaps += 1;
      this.#resubscribe(symbol, holding);
      return;
    }
    holding.seq = seq;
    holding.quote.merge(data ?? {});
    if (!this.#check(symbol, holding, crc)) {
      this.gaps += 1;
      this.#resubscribe(symbol, holding);
      return;
    }
    this.updates += 1;
    this.#changed(symbol);
  }

  // Whether the quote is what the checksum was made of; not every message has one.
  #check(symbol, { quote }, crc) {
    if (crc === undefined) return true;
    const fields = ["bid", "ask", "last", "vol"].map((name) => quote.text(name) ?? "");
    const isRight = crc32([symbol, ...fields].join(":")) === crc;
    if (isRight) this.checked += 1;
    return isRight;
  }

  #resubscribe(symbol, holding) {
    holding.seq = null; // what is held is nothing to go on from
    if (holding.phase === "absent") return;
    this.#leaving.add(symbol);
    this.#enter(symbol, holding, "absent");
    this.#schedule();
  }

  #enter(symbol, holding, phase, refusal = "") {
    holding.phase = phase;
    holding.refusal = refusal;
    this.#changed(symbol);
  }

  // Requests are gathered, so that a whole watch list, or a held-down Delete key, is a few of them.
  #schedule(delayMs = 0) {
    if (!this.#open || this.#timer !== null) return;
    const dueMs = Math.max(delayMs, this.#sentMs + REQUESTS_EVERY_MS - performance.now());
    this.#timer = setTimeout(() => this.#send(), dueMs);
  }

  // The server takes requests in order: leaving first makes `unsubscribe, subscribe` a fresh start.
  #send() {
    this.#timer = null;
    if (!this.#open) return;
    this.#sentMs = performance.now();
    const leaving = [...this.#leaving];
    this.#leaving.clear();
    if (leaving.length > 0) {
      this.#link.request("unsubscribe", { channel: "ticker", symbols: leaving });
    }
    const joining = [...this.#holdings].filter(([, holding]) => holding.phase === "absent");
    if (joining.length === 0) return;
    for (const [symbol, holding] of joining) this.#enter(symbol, holding, "asked");
    const symbols = joining.map(([symbol]) => symbol);
    const params = { channel: "ticker", symbols, max_rate: this.#maxRate, resume: known(joining) };
    this.#link.request("subscribe", params, (reply) => this.#subscribed(symbols, reply));
  }

  #subscribed(symbols, reply) {
    if (reply.type === "ack") {
      for (const result of reply.results ?? []) this.#result(result);
      return;
    }
    const later = reply.code === "rate_limited";
    for (const symbol of symbols) {
      const holding = this.#holdings.get(symbol);
      if (holding?.phase !== "asked") continue;
      this.#enter(symbol, holding, later ? "absent" : "refused", reply.message);
    }
    if (later) this.#schedule(REFUSED_RATE_RETRY_MS);
  }

  #result({ symbol, ok, recovered, seq, code, message }) {
    const holding = this.#holdings.get(symbol);
    if (!holding || holding.phase !== "asked") return;
    if (!ok) {
      this.#enter(symbol, holding, "refused", message ?? code ?? "refused");
    } else if (recovered) {
      // What was missed follows what is held here.
      this.recovered += 1;
      this.#enter(symbol, holding, "held");
    } else if (Number.isSafeInteger(seq)) {
      // An instrument that nothing is known of yet has no snapshot: its first update follows `seq`.
      holding.seq = seq;
      this.#enter(symbol, holding, "held");
    }
  }
}

// What a server that still has the same numbering may go on from, or undefined.
function known(joining) {
  const had = joining.filter(([, { epoch, seq }]) => epoch !== null && seq !== null);
  if (had.length === 0) return undefined;
  const { epoch } = had[0][1];
  const same = had.filter(([, holding]) => holding.epoch === epoch);
  return { epoch, seq: Object.fromEntries(same.map(([symbol, { seq }]) => [symbol, seq])) };
}
