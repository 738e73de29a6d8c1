// Elements of the page, which are changed only where what they show is another.

export function byId(id) {
  return document.getElementById(id);
}

/** Makes an element of a template. */
export function made(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

/** Gives the parts of an element by their names. */
export function partsOf(element) {
  const parts = {};
  for (const part of element.querySelectorAll("[data-part]")) {
    parts[part.dataset.part] = part;
  }
  return parts;
}

export function show(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

export function set(element, name, value) {
  if (element.getAttribute(name) !== value) {
    element.setAttribute(name, value);
  }
}

export function hide(element, isHidden) {
  if (element.hidden !== isHidden) {
    element.hidden = isHidden;
  }
}

/** Elements for the items of a list: made when an item comes, kept while it stays, removed when it goes. */
export class Rows {
  #parent;
  #keyOf;
  #make;
  #rows = new Map();

  /** `make` gives an object with an `element`, and with `update`, called with the item. */
  constructor(parent, keyOf, make) {
    this.#parent = parent;
    this.#keyOf = keyOf;
    this.#make = make;
  }

  [Symbol.iterator]() {
    return this.#rows.values();
  }

  update(items, ...more) {
    const wanted = new Map(items.map((item) => [this.#keyOf(item), item]));
    for (const [key, row] of this.#rows) {
      if (!wanted.has(key)) {
        row.element.remove();
        this.#rows.delete(key);
      }
    }
    const focused = document.activeElement;
    let place = this.#parent.firstElementChild;
    for (const [key, item] of wanted) {
      if (!this.#rows.has(key)) {
        this.#rows.set(key, this.#make(item));
      }
      const row = this.#rows.get(key);
      if (row.element === place) {
        place = place.nextElementSibling;
      } else {
        this.#parent.insertBefore(row.element, place);
      }
      row.update(item, ...more);
    }
    // A row that moves loses the focus.
    if (document.activeElement !== focused && this.#parent.contains(focused)) {
      focused.focus({ preventScroll: true });
    }
  }
}
