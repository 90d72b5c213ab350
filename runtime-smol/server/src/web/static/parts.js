// Parts that several views of the console have.

import { Refused, ask } from './api.js';
import { el, put } from './elements.js';
import { t } from './words.js';

/** Says what was done, or why it was not, for a while. */
export function say(words, isBad = false) {
  const place = document.getElementById('notices');
  const notice = el('p', { class: isBad ? 'notice bad' : 'notice' }, words);
  place.append(notice);
  setTimeout(() => notice.remove(), isBad ? 15_000 : 6_000);
}

/** Does something that may fail, and says so. Returns whether it was done. */
export async function attempt(words, action) {
  try {
    const done = await action();
    say(typeof words === 'function' ? words(done) : words);
    return true;
  } catch (error) {
    if (!(error instanceof Refused)) {
      throw error;
    }
    say(error.status === 0 ? t('lost') : t('failed_with', error.message), true);
    return false;
  }
}

/** Asks before something that ends what others do. */
export function confirm(words, action) {
  const dialog = document.getElementById('confirm');
  const [text, yes, no] = ['confirm-words', 'confirm-yes', 'confirm-no'].map((id) => document.getElementById(id));
  put(text, words);
  put(yes, action);
  put(no, t('cancel'));
  dialog.showModal();
  // Enter must not end anything by mistake.
  no.focus();
  return new Promise((resolve) => {
    const done = (answer) => {
      yes.onclick = no.onclick = dialog.onclose = null;
      dialog.close();
      resolve(answer);
    };
    yes.onclick = () => done(true);
    no.onclick = () => done(false);
    // A browser tells a while later that a dialog has closed: when this is about the question before, this one is open.
    dialog.onclose = () => dialog.open || done(false);
  });
}

/** Closes a connection after a question. */
export async function removeClient(client) {
  const name = client.port ? `${client.ip}:${client.port}` : client.ip;
  if (await confirm(t('remove_client_ask', name), t('do_remove'))) {
    await attempt(t('removed', name), () => ask('DELETE', `/clients/${encodeURIComponent(client.id)}`));
  }
}

/** A section with a heading. */
export function section(key, ...children) {
  return el('section', { class: 'card' }, el('h2', { 'data-t': key }, t(key)), ...children);
}

/** A table with columns of these keys, and its body. On a phone each row is a small card with the keys as labels. */
export function table(...keys) {
  const head = keys.map((key) => (key ? el('th', { scope: 'col', 'data-t': key }, t(key)) : el('th', {}, '')));
  const body = el('tbody');
  return { node: el('div', { class: 'table' }, el('table', {}, el('thead', {}, el('tr', {}, ...head)), body)), body };
}

/** A row of a table: cells by key, which `put` fills. */
export function tableRow(...keys) {
  const cells = keys.map((key) => el('td', { 'data-label': key ? t(key) : null, class: `cell-${key || 'do'}` }));
  const node = el('tr', {}, ...cells);
  const of = Object.fromEntries(keys.map((key, index) => [key, cells[index]]));
  return { node, of };
}

export function chip(kind, words) {
  return el('span', { class: `chip ${kind}` }, words);
}

/** Replaces the chip in an element only if it has changed. */
export function putChip(element, kind, words) {
  const now = element.firstElementChild;
  if (now?.textContent !== words || !now.classList.contains(kind)) {
    element.replaceChildren(chip(kind, words));
  }
}

export function facts(rows) {
  return rows.filter(Boolean).map(([key, value]) => el('div', {}, el('dt', {}, t(key)), el('dd', {}, value)));
}

export function button(key, onclick, kind = '') {
  return el('button', { type: 'button', class: kind, onclick, 'data-t': key }, t(key));
}

export function empty(key) {
  return el('p', { class: 'empty', 'data-t': key }, t(key));
}

/** Pages of a list: what to skip, and buttons. */
export class Pages {
  start = 0;

  constructor(count, changed) {
    this.count = count;
    this.words = el('span');
    this.back = button('previous', () => this.#turn(-1, changed));
    this.on = button('next', () => this.#turn(1, changed));
    this.node = el('nav', { class: 'pages', hidden: true, 'aria-label': t('views') }, this.back, this.words, this.on);
  }

  #turn(by, changed) {
    this.start = Math.max(0, this.start + by * this.count);
    changed();
  }

  show(shown, total) {
    if (shown === 0 && this.start > 0 && total > 0) {
      this.start = Math.max(0, Math.floor((total - 1) / this.count) * this.count);
    }
    this.node.hidden = total <= this.count;
    this.back.disabled = this.start === 0;
    this.on.disabled = this.start + this.count >= total;
    put(this.words, t('page', Math.min(this.start + 1, total), this.start + shown, total));
  }
}
