// The symbols that the visitor watches, in the visitor's order, kept in localStorage. Until the
// visitor changes something, the list is the server's first instruments and is not stored: a visitor
// who never touched it sees whatever the server has first. The same holds when the server has none
// of the stored symbols (another feed on the same address): nothing is overwritten by looking.

import { read, write } from "./store.js";

const KEY = "tickwire.watchlist";
const DEFAULT_SYMBOLS = 12;

/** The longest list: what one page can show and a browser can lay out each frame. */
export const WATCHLIST_MAX = 200;

export class WatchList {
  #own = load(); // the visitor's list, or null
  #shown = this.#own ?? [];

  get symbols() {
    return this.#shown;
  }

  /** Falls back to the first of `instruments` when there is no list of the visitor's to show. */
  settle(instruments) {
    const listed = new Set(instruments.map(({ symbol }) => symbol));
    const own = this.#own;
    const usable = own !== null && (own.length === 0 || own.some((symbol) => listed.has(symbol)));
    this.#shown = usable ? own : firstOf(instruments);
  }

  /** Puts a symbol at a place (default: the end); false when it is there already or the list is full. */
  add(symbol, index = this.#shown.length) {
    if (this.#shown.includes(symbol) || this.#shown.length >= WATCHLIST_MAX) return false;
    this.#keep(this.#shown.toSpliced(index, 0, symbol));
    return true;
  }

  /** Takes a symbol out; tells the place where it was, or -1. */
  remove(symbol) {
    const index = this.#shown.indexOf(symbol);
    if (index >= 0) this.#keep(this.#shown.toSpliced(index, 1));
    return index;
  }

  /** Forgets the visitor's list. */
  restore(instruments) {
    this.#own = null;
    this.#shown = firstOf(instruments);
    write(KEY, null);
  }

  #keep(symbols) {
    this.#own = symbols;
    this.#shown = symbols;
    write(KEY, JSON.stringify(symbols));
  }
}

function firstOf(instruments) {
  return instruments.slice(0, DEFAULT_SYMBOLS).map(({ symbol }) => symbol);
}

function load() {
  try {
    const list = JSON.parse(read(KEY));
    if (!Array.isArray(list)) return null;
    const symbols = list.filter((symbol) => typeof symbol === "string" && symbol !== "");
    return [...new Set(symbols)].slice(0, WATCHLIST_MAX);
  } catch {
    return null; // not written by this page
  }
}
