// Requests to the API of the server, with credentials that last as long as the tab.

const STORED = 'anabranch.credentials';

/** The API does not take the request: `status` is the one of HTTP, or 0 if there was no answer. */
export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

/** Keeps credentials for the session. */
export function signIn({ token, user, password }) {
  sessionStorage.setItem(STORED, token ? `Bearer ${token}` : `Basic ${base64(`${user}:${password}`)}`);
}

export function signOut() {
  sessionStorage.removeItem(STORED);
}

export const isSignedIn = () => sessionStorage.getItem(STORED) !== null;

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/** Asks, and returns the answer. A health of 503 is an answer, too. */
export async function ask(method, path, parameters = {}, signal) {
  // The API does not read a plus as a space, so each value is encoded in full.
  const query = Object.entries(parameters).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join('&');
  const headers = isSignedIn() ? { Authorization: sessionStorage.getItem(STORED) } : {};
  let answer;
  try {
    // Without credentials of the browser, so that it opens no window for a password.
    answer = await fetch(`/api/v1${path}${query ? `?${query}` : ''}`,
      { method, headers, signal, credentials: 'omit', cache: 'no-store' });
  } catch (error) {
    throw error.name === 'AbortError' ? error : new Refused(0, '');
  }
  let content;
  try {
    content = await answer.json();
  } catch {
    throw new Refused(answer.status, '');
  }
  if (content.code !== 0) {
    throw new Refused(answer.status, String(content.error ?? ''));
  }
  return content;
}
