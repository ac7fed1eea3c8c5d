// What the page says about itself: the state of the connection, the figures at the bottom, the
// warning while prices are not live. The state is announced to screen readers once per change; the
// seconds that count down beside it are for the eye only.

const RATE_OVER_SAMPLES = 4; // of `refresh`, half a second apart: the rate is that of the last 2 s
const GROUPED = new Intl.NumberFormat("en-US");

export class Status {
  #link;
  #feed;
  #parts;
  #samples = [];
  #shownState = "";

  /** `parts` are elements: table, state, word, wait, retry, warning, rate, updates, gaps, losses, uptime. */
  constructor(link, feed, parts) {
    this.#link = link;
    this.#feed = feed;
    this.#parts = parts;
    parts.retry.addEventListener("click", () => link.retryNow());
  }

  /** Shows the state; called when it changes and while seconds count. */
  showState() {
    const { state } = this.#link;
    const { state: element, word, table, retry } = this.#parts;
    if (state !== this.#shownState) {
      this.#shownState = state;
      element.dataset.state = state;
      table.dataset.feed = state;
      word.textContent = state;
      retry.hidden = state !== "reconnecting";
      document.title = state === "live" ? "Tickwire" : `${capitalised(state)} · Tickwire`;
    }
    this.#showSeconds(state);
  }

  /** Shows the figures; called every half second. */
  refresh() {
    const now = performance.now();
    this.#samples.push({ at: now, received: this.#link.received });
    if (this.#samples.length > RATE_OVER_SAMPLES + 1) this.#samples.shift();
    const parts = this.#parts;
    show(parts.rate, GROUPED.format(Math.round(this.#rate())));
    show(parts.updates, GROUPED.format(this.#feed.updates));
    show(parts.gaps, GROUPED.format(this.#feed.gaps));
    show(parts.losses, GROUPED.format(this.#link.losses));
    const { liveSinceMs } = this.#link;
    show(parts.uptime, liveSinceMs === null ? "–" : clock(now - liveSinceMs));
  }

  #rate() {
    const oldest = this.#samples[0];
    const newest = this.#samples.at(-1);
    const seconds = (newest.at - oldest.at) / 1000;
    return seconds > 0 ? (newest.received - oldest.received) / seconds : 0;
  }

  #showSeconds(state) {
    const { wait, warning } = this.#parts;
    const now = performance.now();
    const seconds = Math.max(0, Math.ceil((this.#link.retryAtMs - now) / 1000));
    show(wait, state === "reconnecting" ? ` in ${seconds} s` : "");
    const text = this.#warning(state);
    warning.hidden = text === "";
    show(warning.querySelector("span"), text);
  }

  // Said once when it begins: a text that changed each second would be announced each second.
  #warning(state) {
    const { reason, losses } = this.#link;
    if (state === "stale") return "Prices are not live: nothing heard from the server.";
    if (state === "live" || losses === 0) return reason && `${capitalised(reason)}.`;
    return `Prices are not live: ${reason}.`;
  }
}

/** The span of a chart in words: "· last 45 s", "· last 4 min". */
export function spanWords(spanMs) {
  const seconds = Math.round(spanMs / 1000);
  return seconds < 120 ? `· last ${seconds} s` : `· last ${Math.floor(seconds / 60)} min`;
}

function clock(durationMs) {
  const seconds = Math.floor(durationMs / 1000);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  return `${two(hours)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function capitalised(text) {
  return text[0].toUpperCase() + text.slice(1);
}

function show(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
