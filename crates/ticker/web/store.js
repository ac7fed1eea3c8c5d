// What the page keeps in the browser between visits: short texts by key. Storage can be switched off
// in a browser; the page then works for as long as it is open. theme.js keeps its own key, because it
// runs before any module.

/** A stored text, or null. */
export function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Stores a text, or forgets it when null. */
export function write(key, text) {
  try {
    if (text === null) localStorage.removeItem(key);
    else localStorage.setItem(key, text);
  } catch {
    // storage is off
  }
}
