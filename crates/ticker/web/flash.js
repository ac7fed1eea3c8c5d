// Flashes: an element is lit when its price moves, and fades in two steps. A CSS animation would be
// the obvious way, but it restyles and paints its element anew in every frame: at 300 updates a
// second on 50 rows it took 180 ms of style work a second and dropped frames where there is no GPU;
// three writes per flash take 40 ms. The style sheet says what `data-flash` looks like, and that it
// looks like nothing under reduced motion.

const FADES_AFTER_MS = 180;
const ENDS_AFTER_MS = 480;

/** How often `age` is to be called. */
export const FLASH_STEP_MS = 60;

export class Flashes {
  #lit = new Map(); // element -> { kind, sinceMs }

  /** Lights an element; `kind` is "up", "down" or "point". */
  light(element, kind) {
    element.dataset.flash = kind;
    this.#lit.set(element, { kind, sinceMs: performance.now() });
  }

  /** Dims what was lit a while ago. */
  age() {
    const now = performance.now();
    for (const [element, { kind, sinceMs }] of this.#lit) {
      if (now - sinceMs >= ENDS_AFTER_MS) {
        delete element.dataset.flash;
        this.#lit.delete(element);
      } else if (now - sinceMs >= FADES_AFTER_MS) {
        const faded = `${kind}-faded`;
        if (element.dataset.flash !== faded) element.dataset.flash = faded;
      }
    }
  }
}
