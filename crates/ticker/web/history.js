// The recent past of prices, for the line charts. Every chart of the page shares one timeline, so
// that the same place on two charts is the same moment. Time is cut into at most BUCKETS_MAX
// buckets, each holding the last price in it; when they are full, pairs are merged and a bucket
// lasts twice as long, until it lasts BUCKET_MS_MAX: from then on the oldest bucket falls out. So a
// chart is never longer than BUCKETS_MAX points, and recording a price costs the same at any rate.

/** Points of a chart: about one for each pixel of its usual width. */
export const BUCKETS_MAX = 240;
const BUCKET_MS_FIRST = 250;
const BUCKET_MS_MAX = 4000; // 240 of them are 16 minutes
const BUCKETS_SHOWN_MIN = 40; // the first ten seconds fill the chart from the right
const CHART_HEIGHT = 100;
const CHART_MARGIN = 10;

export class Timeline {
  #startMs;
  #bucketMs = BUCKET_MS_FIRST;
  #histories = new Set();

  constructor(nowMs) {
    this.#startMs = nowMs;
  }

  /** A history on this timeline; `close` it when it is no longer shown. */
  open() {
    const history = new History(this);
    this.#histories.add(history);
    return history;
  }

  close(history) {
    this.#histories.delete(history);
  }

  /** The bucket of a moment; merges the buckets of all histories when they do not suffice. */
  bucketAt(nowMs) {
    let bucket = Math.floor((nowMs - this.#startMs) / this.#bucketMs);
    while (bucket >= BUCKETS_MAX && this.#bucketMs < BUCKET_MS_MAX) {
      this.#bucketMs *= 2;
      for (const history of this.#histories) history.halve();
      bucket = Math.floor((nowMs - this.#startMs) / this.#bucketMs);
    }
    return bucket;
  }

  /** The time from the left edge of a chart to its right edge. */
  spanMs(nowMs) {
    return this.shown(this.bucketAt(nowMs)) * this.#bucketMs;
  }

  /** Buckets that a chart shows when `bucket` is the newest. */
  shown(bucket) {
    return Math.min(BUCKETS_MAX, Math.max(BUCKETS_SHOWN_MIN, bucket + 1));
  }
}

class History {
  #timeline;
  #prices = []; // one for each bucket from #first to the newest that a price was recorded in
  #first = 0;

  constructor(timeline) {
    this.#timeline = timeline;
  }

  /** Notes the price at a moment. Buckets without a price take the one before. */
  record(price, nowMs) {
    const bucket = this.#timeline.bucketAt(nowMs);
    if (this.#prices.length === 0) this.#first = bucket;
    this.#fillTo(bucket);
    this.#prices[bucket - this.#first] = price;
  }

  /** Merges pairs of buckets into one; the later price of a pair stays. */
  halve() {
    const merged = [];
    const first = Math.floor(this.#first / 2);
    this.#prices.forEach((price, index) => {
      merged[Math.floor((this.#first + index) / 2) - first] = price;
    });
    this.#prices = merged;
    this.#first = first;
  }

  /** The chart at a moment as SVG paths in a box of BUCKETS_MAX by CHART_HEIGHT, or null. */
  chart(nowMs, open) {
    if (this.#prices.length === 0) return null;
    const newest = this.#timeline.bucketAt(nowMs);
    this.#fillTo(newest);
    const shown = this.#timeline.shown(newest);
    const step = BUCKETS_MAX / (shown - 1);
    const left = newest - shown + 1;
    const y = scale(this.#prices);
    const points = this.#prices.map(
      (price, index) => `${((this.#first + index - left) * step).toFixed(1)} ${y(price)}`,
    );
    const line = `M${points.join("L")}`;
    const from = points[0].split(" ")[0];
    return {
      line,
      area: `${line}V${CHART_HEIGHT}H${from}Z`,
      dot: `M${points.at(-1)}h0`,
      open: open === null ? "" : openLine(y(open)),
    };
  }

  #fillTo(bucket) {
    const missing = bucket - (this.#first + this.#prices.length - 1);
    if (missing <= 0) return;
    const last = this.#prices.at(-1);
    for (let added = 0; added < Math.min(missing, BUCKETS_MAX); added += 1) this.#prices.push(last);
    if (this.#prices.length > BUCKETS_MAX) this.#prices = this.#prices.slice(-BUCKETS_MAX);
    this.#first = bucket - this.#prices.length + 1;
  }
}

function scale(prices) {
  let low = Infinity;
  let high = -Infinity;
  for (const price of prices) {
    low = Math.min(low, price);
    high = Math.max(high, price);
  }
  const inside = CHART_HEIGHT - 2 * CHART_MARGIN;
  if (low === high) return () => CHART_HEIGHT / 2;
  return (price) => (CHART_MARGIN + ((high - price) / (high - low)) * inside).toFixed(1);
}

// The opening price is drawn only where it lies within what the chart shows.
function openLine(y) {
  const inside = y >= CHART_MARGIN && y <= CHART_HEIGHT - CHART_MARGIN;
  return inside ? `M0 ${y}H${BUCKETS_MAX}` : "";
}
