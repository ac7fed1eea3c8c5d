// Numbers as the page shows them. The server sends decimals as strings; prices are formatted from
// that string, digit by digit, so that no price on the screen went through binary floating point.
// Only figures that are computed here (mid, change, percent) are numbers.

const DECIMAL = /^-?\d+(\.\d+)?$/;
const THOUSANDS = /\B(?=(\d{3})+$)/g;
const MINUS = "\u2212"; // as wide as a plus, unlike the hyphen

/** What stands where a value is not known. */
export const ABSENT = "–";

/** Whether `value` is a decimal number in a string. */
export function isDecimal(value) {
  return typeof value === "string" && DECIMAL.test(value);
}

/** The digits after the point of a decimal string. */
export function placesOf(text) {
  const point = text.indexOf(".");
  return point < 0 ? 0 : text.length - point - 1;
}

/** A decimal string with grouped thousands and zeros added up to `places`: "4800.5", 2 -> "4,800.50". */
export function price(text, places) {
  const negative = text.startsWith("-");
  const [whole, fraction = ""] = (negative ? text.slice(1) : text).split(".");
  const grouped = whole.length > 3 ? whole.replace(THOUSANDS, ",") : whole;
  const padded = fraction.padEnd(places, "0");
  return (negative ? MINUS : "") + (padded ? `${grouped}.${padded}` : grouped);
}

/** A number with its sign always shown; what rounds to zero has none. */
export function signed(value, places) {
  const digits = Math.abs(value).toFixed(places);
  if (Number(digits) === 0) return digits;
  return (value < 0 ? MINUS : "+") + price(digits, places);
}

/** A traded or quoted amount: whole above 1,000, else up to four digits after the point. */
export function amount(text) {
  const value = Number(text);
  if (placesOf(text) === 0) return price(text, 0);
  if (Math.abs(value) >= 1000) return price(value.toFixed(0), 0);
  return price(String(Number(value.toFixed(4))), 0);
}
