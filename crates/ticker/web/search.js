// The box that adds a symbol: a combobox over the instruments of the server (WAI-ARIA authoring
// practices, "editable combobox with list autocomplete"). The focus stays in the input; the arrow
// keys move `aria-activedescendant`. What begins with the typed text comes before what contains it.

const MATCHES_MAX = 50; // more are not read; the note says to type on

export class Search {
  #input;
  #drop;
  #list;
  #note;
  #chosen;
  #isWatched;
  #instruments = null; // null until the server has told them
  #matches = [];
  #active = -1;

  /** `chosen(symbol)` is called for a picked instrument, `isWatched(symbol)` marks those in the list. */
  constructor({ form, input, drop, list, note }, chosen, isWatched) {
    this.#input = input;
    this.#drop = drop;
    this.#list = list;
    this.#note = note;
    this.#chosen = chosen;
    this.#isWatched = isWatched;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#pick(this.#active);
    });
    input.addEventListener("input", () => this.#show());
    input.addEventListener("focus", () => this.#show());
    input.addEventListener("click", () => this.#show());
    input.addEventListener("blur", () => this.#hide());
    input.addEventListener("keydown", (event) => this.#key(event));
    // The press would move the focus out of the input, and the blur would close the list first.
    drop.addEventListener("pointerdown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target.closest("li");
      if (option) this.#pick(Number(option.dataset.index));
    });
  }

  /** Takes what the server lists. */
  offer(instruments) {
    this.#instruments = instruments;
    if (!this.#drop.hidden) this.#show();
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }

  #show() {
    const found = matching(this.#instruments ?? [], this.#input.value);
    this.#matches = found.slice(0, MATCHES_MAX);
    this.#list.replaceChildren(...this.#matches.map((match, index) => this.#option(match, index)));
    this.#note.textContent = this.#words(found.length);
    this.#note.hidden = this.#note.textContent === "";
    this.#drop.hidden = false;
    this.#input.setAttribute("aria-expanded", "true");
    // Nothing typed: Enter must not add an instrument that nobody asked for.
    this.#activate(this.#input.value.trim() && this.#matches.length > 0 ? 0 : -1);
  }

  #hide() {
    this.#drop.hidden = true;
    this.#input.setAttribute("aria-expanded", "false");
    this.#activate(-1);
  }

  #words(found) {
    if (this.#instruments === null) return "The list of instruments has not arrived yet";
    if (found === 0) return `No instrument matches “${this.#input.value.trim()}”`;
    if (found > MATCHES_MAX) return `${found - MATCHES_MAX} more: type on to narrow`;
    return "";
  }

  #option({ symbol, name }, index) {
    const option = document.createElement("li");
    option.id = `match-${index}`;
    option.role = "option";
    option.dataset.index = index;
    option.dataset.symbol = symbol;
    option.setAttribute("aria-selected", "false");
    option.append(part("symbol", symbol), " ", part("name", name ?? ""));
    if (this.#isWatched(symbol)) option.append(" ", part("watched", "in the list"));
    return option;
  }

  #activate(index) {
    this.#list.children[this.#active]?.setAttribute("aria-selected", "false");
    this.#active = index;
    const option = this.#list.children[index];
    if (!option) {
      this.#input.removeAttribute("aria-activedescendant");
      return;
    }
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    this.#input.setAttribute("aria-activedescendant", option.id);
  }

  #key(event) {
    const count = this.#matches.length;
    if (event.key === "Escape") {
      if (this.#drop.hidden || this.#input.value === "") this.#input.blur();
      this.#input.value = "";
      this.#hide();
    } else if (event.key === "ArrowDown" && this.#drop.hidden) {
      this.#show();
    } else if (event.key === "ArrowDown" && count > 0) {
      this.#activate((this.#active + 1) % count);
    } else if (event.key === "ArrowUp" && count > 0) {
      this.#activate((Math.max(this.#active, 0) - 1 + count) % count);
    } else {
      return;
    }
    event.preventDefault();
  }

  // The box stays focused with an empty text, so that the next symbol can be typed at once.
  #pick(index) {
    const match = this.#matches[index];
    if (!match) return;
    this.#chosen(match.symbol);
    this.#input.value = "";
    this.#hide();
  }
}

/** The instruments that `text` finds, best first: symbol begins, name or a word of it begins, contains. */
function matching(instruments, text) {
  const sought = text.trim().toLowerCase();
  if (sought === "") return instruments;
  const ranks = [[], [], []];
  for (const instrument of instruments) {
    const symbol = instrument.symbol.toLowerCase();
    const name = (instrument.name ?? "").toLowerCase();
    if (symbol.startsWith(sought)) ranks[0].push(instrument);
    else if (name.startsWith(sought) || name.includes(` ${sought}`)) ranks[1].push(instrument);
    else if (symbol.includes(sought) || name.includes(sought)) ranks[2].push(instrument);
  }
  return ranks.flat();
}

function part(className, text) {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = text;
  return span;
}
