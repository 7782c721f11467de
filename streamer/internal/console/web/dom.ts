// The few things that every page does to its document.

/** need returns the element with an id, which the page's template promises. */
export function need<T extends HTMLElement = HTMLElement>(id: string): T {
  const e = document.getElementById(id);
  if (!e) throw new Error(`no element #${id}`);
  return e as T;
}

/** setText changes a text only if it differs, so that screen readers are not told the same thing twice. */
export function setText(e: Element, text: string): void {
  if (e.textContent !== text) e.textContent = text;
}

/** make returns a new element with a class and children; texts are never read as markup. */
export function make(tag: string, className: string, ...children: (Node | string)[]): HTMLElement {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

/** show fills a box that is hidden while it has nothing to say. */
export function show(box: HTMLElement, text: string, ...more: Node[]): void {
  if (!text) {
    box.hidden = true;
    box.textContent = "";
    return;
  }
  if (box.hidden || box.textContent !== text || more.length > 0) box.replaceChildren(text, ...more);
  box.hidden = false;
}
