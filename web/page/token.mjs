// The token that `nss-wgpu serve` puts behind the # of the address it prints. It is kept for this tab alone.

const KEY = 'nss-token';

/** For browsers that keep nothing: it holds until the page is left. */
let held = '';

/** Take the token out of the page's address, if there is one; whether there was. */
export function takeToken() {
  const given = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (!given) return false;
  // Out of sight, out of bookmarks, and out of what is copied from the address bar.
  history.replaceState(history.state, '', location.pathname + location.search);
  held = decoded(given);
  try {
    sessionStorage.setItem(KEY, held);
  } catch {
    // storage is blocked
  }
  return true;
}

/** The token, or '' where there is none, or none that a header can hold. */
export function token() {
  let found = held;
  try {
    found ||= sessionStorage.getItem(KEY) ?? '';
  } catch {
    // storage is blocked
  }
  return /^[\x21-\x7e]+$/.test(found) ? found : '';
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
