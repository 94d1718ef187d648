// JSON from a file that may say anything: each value is asked for with the type and the range that it must have.
import { RunnerError } from './errors.mjs';

/** Characters of a message that may quote a file. */
const LONGEST = 400;

/**
 * The error of a header that says what cannot be: one line, whatever names and words of a file are in it.
 * @param {string} what a clause whose subject is the header, or a field of it
 */
export function damaged(what) {
  const line = what.length <= LONGEST ? what : `${what.slice(0, LONGEST - 1)}…`;
  const words = line.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\ufffd');
  return new RunnerError('damaged', `model.json cannot be used: ${words}; export the model again`);
}

/**
 * The JSON in a text, in which no name stands twice in one object, no number is infinite and no surrogate is alone.
 * Raises RunnerError.
 * @param {string} text
 * @returns {unknown}
 */
export function parse(text) {
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    throw damaged('it is no JSON');
  }
  let names = 0;
  const values = [document];
  while (values.length) { // no recursion: the nesting is the file's
    const value = values.pop();
    if (typeof value === 'number' && !Number.isFinite(value)) throw damaged('a number in it is not finite');
    if (typeof value === 'string' && /[\uD800-\uDFFF]/u.test(value)) {
      throw damaged('a string in it has half a character');
    }
    if (typeof value !== 'object' || value === null) continue;
    if (!Array.isArray(value)) names += Object.keys(value).length;
    for (const each of Object.values(value)) values.push(each);
  }
  // JSON.parse keeps the last one of equal names: the text then has more of them than the object
  if (names !== countNames(text)) throw damaged('a name stands twice in one object');
  return document;
}

/**
 * How many names there are in a text that is JSON: the strings that a colon follows.
 *
 * No regular expression: one that steps through a string keeps a way back for each, and a string may have millions.
 * @param {string} text
 */
function countNames(text) {
  let names = 0;
  for (let at = text.indexOf('"'); at !== -1; at = text.indexOf('"', at)) {
    let escapes = 0;
    do {
      at = text.indexOf('"', at + 1);
      for (escapes = 0; text[at - 1 - escapes] === '\\';) escapes += 1;
    } while (escapes % 2);
    do at += 1; while (' \t\n\r'.includes(text[at] ?? 'end'));
    if (text[at] === ':') names += 1;
  }
  return names;
}

/** An object of JSON at `place`, which error messages name. Every reader raises RunnerError. */
export class Fields {
  #values;
  #place;

  /**
   * @param {unknown} value
   * @param {string} [place]
   */
  constructor(value, place = '') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw damaged(`${place || 'it'} is no object`);
    }
    this.#values = new Map(Object.entries(value)); // a Map has no names of its own
    this.#place = place;
  }

  /**
   * Itself, where it has exactly these fields.
   * @param {string[]} names
   */
  only(...names) {
    const missing = names.find(name => !this.#values.has(name));
    if (missing !== undefined) throw damaged(`${this.#place || 'it'} has no '${missing}'`);
    const unknown = [...this.#values.keys()].find(name => !names.includes(name));
    if (unknown !== undefined) throw damaged(`${this.#place || 'it'} has an unknown '${unknown.slice(0, 40)}'`);
    return this;
  }

  /**
   * What messages call a field.
   * @param {string} name
   */
  place(name) {
    return this.#place ? `${this.#place}.${name}` : name;
  }

  /** @param {string} name */
  isNull(name) {
    return this.#values.get(name) === null;
  }

  /**
   * @param {string} name
   * @param {number} [least]
   */
  integer(name, least = 0) {
    return integer(this.#values.get(name), this.place(name), least);
  }

  /** @param {string} name */
  text(name) {
    const value = this.#values.get(name);
    if (typeof value !== 'string') throw damaged(`${this.place(name)} is no string`);
    return value;
  }

  /**
   * One of these strings.
   * @template {string} T
   * @param {string} name
   * @param {readonly T[]} choices
   * @returns {T}
   */
  choice(name, choices) {
    const value = this.text(name), found = choices.find(choice => choice === value);
    if (found === undefined) {
      throw damaged(`${this.place(name)} is '${value.slice(0, 40)}', none of ${choices.join(', ')}`);
    }
    return found;
  }

  /** @param {string} name */
  boolean(name) {
    const value = this.#values.get(name);
    if (typeof value !== 'boolean') throw damaged(`${this.place(name)} is neither true nor false`);
    return value;
  }

  /**
   * @param {string} name
   * @returns {unknown[]}
   */
  array(name) {
    return array(this.#values.get(name), this.place(name));
  }

  /**
   * @param {string} name
   * @param {number} [least]
   */
  integers(name, least = 0) {
    return this.array(name).map(value => integer(value, this.place(name), least));
  }

  /** @param {string} name */
  texts(name) {
    return this.array(name).map(value => {
      if (typeof value !== 'string') throw damaged(`${this.place(name)} is no array of strings`);
      return value;
    });
  }

  /** @param {string} name */
  fields(name) {
    return new Fields(this.#values.get(name), this.place(name));
  }

  /** @param {string} name */
  objects(name) {
    return this.array(name).map((value, index) => new Fields(value, `${this.place(name)}[${index}]`));
  }

  /**
   * An object whose content is not looked at.
   * @param {string} name
   * @returns {Record<string, unknown>}
   */
  mapping(name) {
    this.fields(name);
    return /** @type {Record<string, unknown>} */ (this.#values.get(name));
  }

  /**
   * An object of integers.
   * @param {string} name
   * @returns {Map<string, number>}
   */
  counts(name) {
    const fields = this.fields(name);
    return new Map([...fields.#values.keys()].map(key => [key, fields.integer(key)]));
  }
}

/**
 * A value, where it is an integer from `least` to 2⁵³ − 1. Raises RunnerError.
 * @param {unknown} value
 * @param {string} place
 * @param {number} [least]
 */
export function integer(value, place, least = 0) {
  if (typeof value !== 'number' || !Number.isInteger(value)) throw damaged(`${place} is no integer`);
  if (value < least || value > Number.MAX_SAFE_INTEGER) throw damaged(`${place} is ${value}, which is out of range`);
  return value;
}

/**
 * A value, where it is an array. Raises RunnerError.
 * @param {unknown} value
 * @param {string} place
 * @returns {unknown[]}
 */
export function array(value, place) {
  if (!Array.isArray(value)) throw damaged(`${place} is no array`);
  return value;
}
