// Elements made from code. HTML as text, style attributes and inline handlers are what the page's policy forbids.

/**
 * An element with attributes, properties and children.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [attributes] a function becomes the listener of the event of that name; `true` sets
 *   an attribute without value, `false`, null and undefined leave it out
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(name, /** @type {EventListener} */ (value));
    else if (value === true) made.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children.filter(child => child !== null && child !== undefined && child !== false));
  return made;
}

/**
 * The element with that id, which index.html has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const there = document.getElementById(id);
  if (!there) throw new Error(`the page has no element "${id}"; index.html and page/ are of different versions`);
  return there;
}

let live = '';

/**
 * Have a screen reader say it when it has finished what it is saying.
 * @param {string} sentence
 */
export function announce(sentence) {
  const region = byId('live');
  // The same text again is said only if the text changes.
  live = sentence === live ? `${sentence}\u00a0` : sentence;
  region.textContent = live;
}
