// The ticker page. A message takes this way: link.js (socket, reconnect, silence) -> feed.js
// (subscriptions, sequence check, quotes) -> table.js, which only notes the symbol. The screen is
// drawn once per animation frame, whatever the number of messages; a hidden page gets no frames, so
// nothing piles up behind it: the quotes are kept current, and the next frame shows them.

import { Feed } from "./feed.js";
import { FLASH_STEP_MS } from "./flash.js";
import { Link } from "./link.js";
import { Search } from "./search.js";
import { spanWords, Status } from "./status.js";
import { read, write } from "./store.js";
import { WatchTable } from "./table.js";
import { WATCHLIST_MAX, WatchList } from "./watchlist.js";

const RATE_KEY = "tickwire.rate";
const PROTOCOL = "ticker.v1.json";
const CHARTS_EVERY_MS = 125; // a quarter of them each time
const FIGURES_EVERY_MS = 500;
const SECONDS_EVERY_MS = 250;
const SAID_FOR_MS = 8000;

const part = (id) => document.getElementById(id);

const link = new Link(tickerUrl(), PROTOCOL, {
  opened() {
    feed.opened();
    link.request("instruments", undefined, instrumentsTold);
  },
  lost: () => feed.lost(),
  message: (message) => feed.message(message),
  stateChanged: () => status.showState(),
});

const feed = new Feed(link, chosenRate(), (symbol) => {
  table.touch(symbol);
  requestFrame();
});

const list = new WatchList();
const table = new WatchTable(part("watch"), part("row"), feed, remove);

const search = new Search(
  {
    form: document.querySelector(".search"),
    input: part("search"),
    drop: part("drop"),
    list: part("matches"),
    note: part("matches-note"),
  },
  add,
  (symbol) => list.symbols.includes(symbol),
);

const status = new Status(link, feed, {
  table: part("watch"),
  state: document.querySelector(".state"),
  word: part("state-word"),
  wait: part("state-wait"),
  retry: part("retry"),
  warning: part("warning"),
  rate: part("rate"),
  updates: part("updates"),
  gaps: part("gaps"),
  losses: part("losses"),
  uptime: part("uptime"),
});

let instruments = [];
let frameRequested = false;
let undo = null; // what was removed last: { symbol, index }
let sayTimer = null;

start();

function start() {
  showList();
  part("undo").querySelector("button").addEventListener("click", undoRemoval);
  part("restore").addEventListener("click", restore);
  part("max-rate").addEventListener("change", chooseRate);
  addEventListener("keydown", shortcut);
  setInterval(() => status.showState(), SECONDS_EVERY_MS);
  setInterval(() => status.refresh(), FIGURES_EVERY_MS);
  setInterval(() => table.ageFlashes(), FLASH_STEP_MS);
  setInterval(drawCharts, CHARTS_EVERY_MS);
  link.start();
}

function tickerUrl() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  // The page's own query goes along: it may have a token.
  return `${scheme}//${location.host}/ticker${location.search}`;
}

// The choice is that of the visitor's last visit, if this page still has it.
function chosenRate() {
  const select = part("max-rate");
  const stored = read(RATE_KEY);
  if ([...select.options].some(({ value }) => value === stored)) select.value = stored;
  return Number(select.value);
}

function chooseRate() {
  const { value } = part("max-rate");
  write(RATE_KEY, value);
  feed.setRate(Number(value));
}

// Each connection asks again: a server that was restarted may have other instruments.
function instrumentsTold(reply) {
  if (reply.type !== "ack" || !Array.isArray(reply.results)) return;
  instruments = reply.results.filter(({ symbol }) => typeof symbol === "string");
  list.settle(instruments);
  table.name(instruments);
  search.offer(instruments);
  showList();
}

function showList() {
  const wanted = held();
  for (const symbol of feed.symbols()) {
    if (!wanted.includes(symbol)) feed.unwatch(symbol);
  }
  for (const symbol of wanted) feed.watch(symbol);
  table.show(list.symbols);
  part("symbols").textContent = list.symbols.length;
  part("empty").hidden = list.symbols.length > 0 || instruments.length === 0;
  requestFrame();
}

// The server closes a connection that subscribes to nothing (4408): with an empty list, the first
// instrument keeps the connection, and with it the state that the page shows, alive.
function held() {
  if (list.symbols.length > 0) return list.symbols;
  return instruments.slice(0, 1).map(({ symbol }) => symbol);
}

function add(symbol) {
  if (list.symbols.includes(symbol)) {
    table.point(symbol);
  } else if (list.add(symbol)) {
    showList();
    table.point(symbol);
  } else {
    say(`The watch list holds at most ${WATCHLIST_MAX} symbols`, null);
  }
}

function remove(symbol) {
  const next = table.neighbour(symbol);
  const hadFocus = table.hasFocus(symbol);
  const index = list.remove(symbol);
  showList();
  if (hadFocus && !table.focus(next)) search.focus();
  say(`${symbol} removed`, { symbol, index });
}

function undoRemoval() {
  if (undo === null) return;
  const { symbol, index } = undo;
  say("", null);
  list.add(symbol, index);
  showList();
  table.point(symbol);
  table.focus(symbol);
}

function restore() {
  list.restore(instruments);
  showList();
}

// A short word at the bottom, with a way back when there is one.
function say(text, removal) {
  clearTimeout(sayTimer);
  const element = part("undo");
  element.querySelector("span").textContent = text;
  element.querySelector("button").hidden = removal === null;
  element.hidden = text === "";
  undo = removal;
  if (text !== "") sayTimer = setTimeout(() => say("", null), SAID_FOR_MS);
}

function shortcut(event) {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  search.focus();
}

function drawCharts() {
  if (document.hidden || link.state !== "live") return;
  part("trend-span").textContent = spanWords(table.drawCharts());
}

function requestFrame() {
  if (frameRequested) return;
  frameRequested = true;
  requestAnimationFrame(drawFrame);
}

function drawFrame() {
  frameRequested = false;
  table.render();
  const { updates, recovered, checked } = feed;
  Object.assign(document.documentElement.dataset, { updates, recovered, checked });
}
