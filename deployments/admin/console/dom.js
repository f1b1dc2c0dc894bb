// Elements without innerHTML: whatever a cluster calls its things is text.

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function set(element, name, value) {
  if (name === "class") element.className = value;
  else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (value === true) element.setAttribute(name, "");
  else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
}

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Children of `parent` made or changed to be those of `items`, in order: what is hovered or focused stays the same element.
export function keep(parent, items, keyOf, make, change) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const item of items) {
    const key = keyOf(item);
    let child = known.get(key);
    known.delete(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    change?.(child, item);
    const next = before ? before.nextElementSibling : parent.firstElementChild;
    if (next !== child) parent.insertBefore(child, next);
    before = child;
  }
  for (const gone of known.values()) gone.remove();
}

// Options of a select, without losing what is chosen.
export function offer(select, names, first = []) {
  const wanted = [...first, ...names.map((name) => [name, name])];
  const now = [...select.options].map((option) => option.value);
  if (now.length === wanted.length && now.every((value, at) => value === wanted[at][0])) return;
  const chosen = select.value;
  select.replaceChildren(...wanted.map(([value, text]) => h("option", { value }, text)));
  if (wanted.some(([value]) => value === chosen)) select.value = chosen;
}
