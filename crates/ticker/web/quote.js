// What is known of one instrument: the fields of its snapshot, overwritten by those of each update.
// Fields that are not decimal strings are left out, as are fields that this page does not know. The
// quote does not know about sequences (feed.js) nor about what is on the screen (table.js).

import { isDecimal, placesOf } from "./decimal.js";

const PRICES = ["bid", "ask", "last", "open"];
const AMOUNTS = ["bid_size", "ask_size", "vol"];

export class Quote {
  #fields = {};
  #places = 0;

  /** Forgets everything and takes `data`; the width of prices stays, so that columns do not jump. */
  replace(data) {
    this.#fields = {};
    this.merge(data);
  }

  /** Takes the fields that `data` has. */
  merge(data) {
    for (const name of PRICES) {
      if (!isDecimal(data[name])) continue;
      this.#fields[name] = data[name];
      this.#places = Math.max(this.#places, placesOf(data[name]));
    }
    for (const name of AMOUNTS) {
      if (isDecimal(data[name])) this.#fields[name] = data[name];
    }
  }

  /** A field as it was sent, or undefined. */
  text(name) {
    return this.#fields[name];
  }

  /** Digits after the point that every price of this instrument is shown with. */
  get places() {
    return this.#places;
  }

  /** Whether the price is the middle of bid and ask, because nothing is known to have traded. */
  get isMid() {
    return this.#fields.last === undefined && this.price !== null;
  }

  /** Last trade, else the middle of bid and ask, else null. */
  get price() {
    const { last, bid, ask } = this.#fields;
    if (last !== undefined) return Number(last);
    if (bid !== undefined && ask !== undefined) return (Number(bid) + Number(ask)) / 2;
    return null;
  }

  /** The price as text with `places` digits at most, or null. */
  get priceText() {
    return this.#fields.last ?? this.price?.toFixed(this.#places) ?? null;
  }

  /** Price less opening price, or null. */
  get change() {
    const { open } = this.#fields;
    return open === undefined || this.price === null ? null : this.price - Number(open);
  }

  /** Change in percent of the opening price, or null. */
  get percent() {
    const open = Number(this.#fields.open);
    return this.change === null || open === 0 ? null : (this.change / open) * 100;
  }

  /** A field as a number to sort by, or null. */
  number(name) {
    const text = this.#fields[name];
    return text === undefined ? null : Number(text);
  }
}
