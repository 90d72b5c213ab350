// Elements of the page. What they show is always text: nothing that comes from a stream is ever read as HTML.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes, listeners (`onclick`), and children: elements, texts, or nothing. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) {
      element.addEventListener(key.slice(2), value);
    } else if (value === true) {
      element.setAttribute(key, '');
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(key, value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

/** Puts a text into an element; leaves it alone if it is the same, as a screen reader would say it again. */
export function put(element, text) {
  const words = String(text ?? '');
  if (element.textContent !== words) {
    element.textContent = words;
  }
}

/** Children of an element that stand for items and stay while those do, so that focus and pictures stay. */
export class Rows {
  #parent;
  #idOf;
  #make;
  #rows = new Map();

  /** @param make a function from an item to a row: `{ node, update(item), end() }` */
  constructor(parent, idOf, make) {
    this.#parent = parent;
    this.#idOf = idOf;
    this.#make = make;
  }

  show(items) {
    const wanted = new Map(items.map((item) => [this.#idOf(item), item]));
    for (const [id, row] of this.#rows) {
      if (!wanted.has(id)) {
        row.end?.();
        row.node.remove();
        this.#rows.delete(id);
      }
    }
    let place = this.#parent.firstChild;
    for (const [id, item] of wanted) {
      let row = this.#rows.get(id);
      if (row === undefined) {
        row = this.#make(item);
        this.#rows.set(id, row);
      }
      row.update?.(item);
      if (row.node === place) {
        place = place.nextSibling;
      } else {
        this.#parent.insertBefore(row.node, place);
      }
    }
  }

  end() {
    this.#rows.forEach((row) => row.end?.());
    this.#rows.clear();
  }
}
