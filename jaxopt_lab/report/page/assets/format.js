// Numbers as text, as jaxopt_lab.formats writes them; elements from text, never from HTML.

/** A number in three significant digits; "-" where it is not finite. */
function number(value) {
  if (typeof value !== "number") return value === null || value === undefined ? "-" : String(value);
  if (!Number.isFinite(value)) return "-";
  if (value === 0) return "0.00";
  const [mantissa, exponent] = value.toExponential(2).split("e");
  const power = Number(exponent);
  return power < -4 || power >= 3 ? `${mantissa}e${power}` : value.toPrecision(3);
}

/** A number in at most four significant digits, without trailing zeros; other values as text. */
function short(value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(3).split("e");
  const power = Number(exponent);
  if (power >= -4 && power < 4) return String(Number(value.toPrecision(4)));
  const sign = power < 0 ? "-" : "+";
  return `${Number(mantissa)}e${sign}${String(Math.abs(power)).padStart(2, "0")}`;
}

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; texts become text nodes. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, String(value));
  }
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/** Give a file to the reader. */
function save(name, blob) {
  const address = URL.createObjectURL(blob);
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

