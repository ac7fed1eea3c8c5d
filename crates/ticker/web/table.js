// The watch list on the screen. `touch` notes that a symbol has changed, which costs next to nothing
// at any message rate; `render` brings the touched rows up to date, and is called once per animation
// frame. What a frame shows is compared with what the frame before showed: so a cell flashes for the
// change that can be seen, and text that stays is not written again.
//
// Sorted rows move at most every SORT_EVERY_MS, and not while the pointer moves over them: a row must
// not slip away under a click.

import { ABSENT, amount, price, signed } from "./decimal.js";
import { Flashes } from "./flash.js";
import { Timeline } from "./history.js";
import { read, write } from "./store.js";

const SORT_KEY = "tickwire.sort";
const SORT_EVERY_MS = 1000;
const SORT_HELD_AFTER_POINTER_MS = 3000;
const CHART_ROUNDS = 4; // calls of drawCharts until every chart was drawn once

// What a column sorts by, and the direction of the first click on it.
const SORTS = {
  symbol: { value: (symbol) => symbol, first: "ascending" },
  last: { value: (_, quote) => quote.price, first: "descending" },
  change: { value: (_, quote) => quote.change, first: "descending" },
  percent: { value: (_, quote) => quote.percent, first: "descending" },
  volume: { value: (_, quote) => quote.number("vol"), first: "descending" },
};

export class WatchTable {
  #table;
  #body;
  #template;
  #feed;
  #removed;
  #timeline = new Timeline(performance.now());
  #flashes = new Flashes();
  #rows = new Map(); // symbol -> Row
  #symbols = []; // in the visitor's order
  #names = new Map();
  #touched = new Set();
  #sort = loadSort();
  #sortedMs = 0;
  #pointerMs = -SORT_HELD_AFTER_POINTER_MS;
  #nextChart = 0;

  /** `removed(symbol)` is called when the visitor takes a row out. */
  constructor(table, template, feed, removed) {
    this.#table = table;
    this.#body = table.tBodies[0];
    this.#template = template;
    this.#feed = feed;
    this.#removed = removed;
    this.#body.addEventListener("pointermove", () => (this.#pointerMs = performance.now()));
    this.#body.addEventListener("click", (event) => this.#click(event));
    this.#body.addEventListener("keydown", (event) => this.#key(event));
    table.tHead.addEventListener("click", (event) => this.#sortBy(event));
    this.#showSort();
  }

  /** Makes the rows those of `symbols`. */
  show(symbols) {
    this.#symbols = [...symbols];
    const wanted = new Set(symbols);
    for (const [symbol, row] of this.#rows) {
      if (wanted.has(symbol)) continue;
      row.element.remove();
      this.#timeline.close(row.history);
      this.#rows.delete(symbol);
    }
    for (const symbol of symbols) {
      if (this.#rows.has(symbol)) continue;
      const row = new Row(this.#template, symbol, this.#timeline.open(), this.#flashes);
      row.name(this.#names.get(symbol));
      this.#rows.set(symbol, row);
      this.touch(symbol);
    }
    this.#arrange();
  }

  /** Tells the names of instruments. */
  name(instruments) {
    this.#names = new Map(instruments.map(({ symbol, name }) => [symbol, name]));
    for (const [symbol, row] of this.#rows) row.name(this.#names.get(symbol));
  }

  /** Notes that what is held of a symbol has changed. */
  touch(symbol) {
    const row = this.#rows.get(symbol);
    if (!row) return;
    this.#touched.add(symbol);
    const last = this.#feed.holding(symbol)?.quote.price ?? null;
    if (last !== null) row.history.record(last, performance.now());
  }

  /** Brings the touched rows up to date. */
  render() {
    for (const symbol of this.#touched) {
      const holding = this.#feed.holding(symbol);
      if (holding) this.#rows.get(symbol)?.render(holding);
    }
    if (this.#touched.size > 0) this.#alignPoints();
    this.#touched.clear();
    this.#sortWhenDue();
  }

  /** Draws the next quarter of the charts: time moves on also where no price does. */
  drawCharts() {
    const now = performance.now();
    const rows = [...this.#rows];
    const count = Math.ceil(rows.length / CHART_ROUNDS);
    for (let drawn = 0; drawn < count; drawn += 1) {
      const [symbol, row] = rows[(this.#nextChart + drawn) % rows.length];
      row.drawChart(now, this.#feed.holding(symbol)?.quote.number("open") ?? null);
    }
    this.#nextChart = rows.length === 0 ? 0 : (this.#nextChart + count) % rows.length;
    return this.#timeline.spanMs(now);
  }

  /** Leads the eye to a row that is there already. */
  point(symbol) {
    const element = this.#rows.get(symbol)?.element;
    if (!element) return;
    element.scrollIntoView({ block: "nearest" });
    this.#flashes.light(element, "point");
  }

  /** Lets flashes fade; to be called every FLASH_STEP_MS. */
  ageFlashes() {
    this.#flashes.age();
  }

  // Prices line up at their decimal points: each row is told how many digits it lacks to the longest.
  #alignPoints() {
    let longest = 0;
    for (const row of this.#rows.values()) longest = Math.max(longest, row.places);
    setProperty(this.#table, "--places-max", longest);
  }

  #sortWhenDue() {
    const now = performance.now();
    if (this.#sort.key === null || now - this.#sortedMs < SORT_EVERY_MS) return;
    if (now - this.#pointerMs < SORT_HELD_AFTER_POINTER_MS) return;
    this.#arrange();
  }

  #arrange() {
    this.#sortedMs = performance.now();
    const order = this.#ordered().map((symbol) => this.#rows.get(symbol).element);
    const focused = document.activeElement;
    order.forEach((element, index) => {
      const present = this.#body.children[index];
      if (present !== element) this.#body.insertBefore(element, present ?? null);
    });
    // A row that is moved loses the focus.
    if (focused !== document.activeElement && this.#body.contains(focused)) {
      focused.focus({ preventScroll: true });
    }
  }

  #ordered() {
    const { key, direction } = this.#sort;
    if (key === null) return this.#symbols;
    const { value } = SORTS[key];
    const sign = direction === "ascending" ? 1 : -1;
    const keyed = this.#symbols.map((symbol) => {
      const quote = this.#feed.holding(symbol)?.quote;
      return { symbol, value: quote ? value(symbol, quote) : null };
    });
    keyed.sort((left, right) => compare(left.value, right.value, sign));
    return keyed.map(({ symbol }) => symbol);
  }

  // First direction, other direction, the visitor's own order again.
  #sortBy(event) {
    const key = event.target.closest("th")?.dataset.sort;
    if (!key || !event.target.closest("button")) return;
    const { first } = SORTS[key];
    const other = first === "ascending" ? "descending" : "ascending";
    if (this.#sort.key !== key) this.#sort = { key, direction: first };
    else if (this.#sort.direction === first) this.#sort = { key, direction: other };
    else this.#sort = UNSORTED;
    write(SORT_KEY, this.#sort.key === null ? null : JSON.stringify(this.#sort));
    this.#showSort();
    this.#arrange();
  }

  #showSort() {
    for (const heading of this.#table.tHead.querySelectorAll("[data-sort]")) {
      const isKey = heading.dataset.sort === this.#sort.key;
      if (isKey) heading.setAttribute("aria-sort", this.#sort.direction);
      else heading.removeAttribute("aria-sort");
    }
  }

  #click(event) {
    const button = event.target.closest("button.remove");
    if (button) this.#removed(button.closest("tr").dataset.symbol);
  }

  // From one remove button to the next with the arrow keys; Delete is the button itself.
  #key(event) {
    const row = event.target.closest("tr");
    const focus = (other) => other?.querySelector("button")?.focus();
    if (event.key === "ArrowDown") focus(row.nextElementSibling);
    else if (event.key === "ArrowUp") focus(row.previousElementSibling);
    else if (event.key === "Home") focus(this.#body.firstElementChild);
    else if (event.key === "End") focus(this.#body.lastElementChild);
    else if (event.key === "Delete" || event.key === "Backspace") {
      this.#removed(row.dataset.symbol);
    } else return;
    event.preventDefault();
  }

  /** The symbol below that of a row, else the one above, or undefined. */
  neighbour(symbol) {
    const element = this.#rows.get(symbol)?.element;
    return (element?.nextElementSibling ?? element?.previousElementSibling)?.dataset.symbol;
  }

  /** Whether the focus is in the row of a symbol. */
  hasFocus(symbol) {
    return this.#rows.get(symbol)?.element.contains(document.activeElement) ?? false;
  }

  /** Moves the focus to the row of a symbol; false when it has none. */
  focus(symbol) {
    const button = this.#rows.get(symbol)?.element.querySelector("button");
    button?.focus();
    return button !== undefined;
  }
}

class Row {
  element;
  history;
  places = 0;
  #cells = {};
  #flashes;
  #name;
  #knownName = "";
  #chart;

  constructor(template, symbol, history, flashes) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.history = history;
    this.#flashes = flashes;
    this.element.dataset.symbol = symbol;
    this.element.querySelector(".symbol").textContent = symbol;
    this.#name = this.element.querySelector(".name");
    const remove = this.element.querySelector("button");
    remove.setAttribute("aria-label", `Remove ${symbol}`);
    remove.title = `Remove ${symbol} (Delete)`;
    for (const element of this.element.querySelectorAll("td[data-testid]")) {
      this.#cells[element.dataset.testid] = new Cell(element, flashes);
    }
    this.#chart = Object.fromEntries(
      [...this.element.querySelectorAll("path")].map((path) => [path.className.baseVal, path]),
    );
  }

  /** Takes the instrument's name. */
  name(text = "") {
    this.#knownName = text;
    this.#showName(text);
  }

  /** Shows a holding. */
  render({ quote, phase, refusal }) {
    this.element.dataset.phase = phase;
    this.#showName(phase === "refused" ? refusal : this.#knownName);
    if (this.places !== quote.places) this.#align(quote.places);
    const cells = this.#cells;
    const moved = cells.last.number(quote.price, quote.priceText, this.places);
    if (moved !== null) this.#tick(moved);
    this.#markMid(quote.isMid);
    cells.bid.number(quote.number("bid"), quote.text("bid"), this.places);
    cells.ask.number(quote.number("ask"), quote.text("ask"), this.places);
    cells["bid-size"].amount(quote.text("bid_size"));
    cells["ask-size"].amount(quote.text("ask_size"));
    cells.volume.amount(quote.text("vol"));
    this.#renderChange(quote.change, quote.percent);
  }

  drawChart(nowMs, open) {
    const paths = this.history.chart(nowMs, open);
    if (paths === null) return;
    for (const [name, path] of Object.entries(paths)) this.#chart[name].setAttribute("d", path);
  }

  #showName(text) {
    if (this.#name.textContent === text) return;
    this.#name.textContent = text;
    this.#name.title = text;
  }

  #renderChange(change, percent) {
    const places = this.places;
    const text = change === null ? ABSENT : signed(change, places);
    this.#cells.change.text(text);
    this.#cells.percent.text(percent === null ? ABSENT : signed(percent, 2));
    // The sign that is shown decides the colour: what rounds to zero has none.
    const sign = { "+": "up", "\u2212": "down" }[text[0]] ?? "flat";
    if (this.element.dataset.day !== sign) this.element.dataset.day = sign;
  }

  #markMid(isMid) {
    const { element } = this.#cells.last;
    if (element.hasAttribute("data-mid") === isMid) return;
    element.toggleAttribute("data-mid", isMid);
    element.title = isMid ? "The middle of bid and ask: no trade is known" : "";
  }

  #tick(direction) {
    this.element.dataset.tick = direction;
    this.#flashes.light(this.element, direction);
  }

  // A price without a fraction lacks the point as well, which is as wide as about half a digit.
  #align(places) {
    this.places = places;
    setProperty(this.element, "--places", places === 0 ? -0.5 : places);
  }
}

class Cell {
  element;
  #node = document.createTextNode(ABSENT);
  #flashes;
  #number = null;

  constructor(element, flashes) {
    this.element = element;
    this.#flashes = flashes;
    element.append(this.#node);
    element.toggleAttribute("data-absent", true);
  }

  text(text) {
    if (this.#node.data === text) return;
    this.#node.data = text;
    this.element.toggleAttribute("data-absent", text === ABSENT);
  }

  amount(text) {
    this.text(text === undefined ? ABSENT : amount(text));
  }

  /** Shows a price; flashes and tells the direction when it differs from the one shown before. */
  number(value, text, places) {
    this.text(value === null ? ABSENT : price(text, places));
    const before = this.#number;
    this.#number = value;
    if (before === null || value === null || before === value) return null;
    const direction = value > before ? "up" : "down";
    this.#flashes.light(this.element, direction);
    return direction;
  }
}

const UNSORTED = { key: null, direction: null };

function loadSort() {
  try {
    const { key, direction } = JSON.parse(read(SORT_KEY));
    const known = Object.hasOwn(SORTS, key) && ["ascending", "descending"].includes(direction);
    return known ? { key, direction } : UNSORTED;
  } catch {
    return UNSORTED; // nothing stored, or not by this page
  }
}

// What is not known comes last, in both directions.
function compare(left, right, sign) {
  if (left === null || right === null) return (left === null) - (right === null);
  if (left === right) return 0;
  return left < right ? -sign : sign;
}

function setProperty(element, name, value) {
  const text = String(value);
  if (element.style.getPropertyValue(name) !== text) element.style.setProperty(name, text);
}
