// The console: signs in, shows one view at a time, and asks the API again and again while the page can be seen.

import { decoded } from './address.js';
import { ask, isSignedIn, Refused, signIn, signOut } from './api.js';
import { clientsView } from './clients.js';
import { closesView } from './closes.js';
import { el, put } from './elements.js';
import { count, rate, size, span } from './numbers.js';
import { facts, say } from './parts.js';
import { relaysView } from './relays.js';
import { serverView } from './server.js';
import { settingsView } from './settings.js';
import { streamView } from './stream.js';
import { streamsView } from './streams.js';
import { offerLooks } from './looks.js';
import { isKnown, t, translate } from './words.js';

/** Milliseconds between two questions. */
const AGAIN = 2000;

const VIEWS = { streams: streamsView, clients: clientsView, relays: relaysView, closes: closesView,
  settings: settingsView, server: serverView };

const place = (id) => document.getElementById(id);

class Console {
  #view = null;
  #asking = null;
  #timer = 0;
  #last = null;

  constructor() {
    // Where streams are played: the console may be on the port of the API, which has no media.
    const [scheme, port] = document.documentElement.dataset.media.split(':');
    this.media = port ? `${scheme}://${location.hostname}:${port}/` : undefined;
    addEventListener('hashchange', () => this.#open());
    document.addEventListener('visibilitychange', () => document.hidden || this.refresh());
    // Its address would be taken for that of a view.
    place('skip').addEventListener('click', (event) => {
      event.preventDefault();
      place('view').focus();
    });
    place('sign-out').addEventListener('click', () => {
      signOut();
      this.#askForCredentials(false);
    });
    place('sign-in').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#signIn();
    });
    offerLooks(() => this.#open());
    translate(document.body);
    this.#open();
  }

  #open() {
    const [, name, id, play] = location.hash.match(/^#\/(\w+)(?:\/([^/]+)(\/play)?)?$/) ?? [];
    const known = Object.hasOwn(VIEWS, name ?? '') ? name : 'streams';
    this.#view?.end();
    const isOne = known === 'streams' && id;
    this.#view = isOne ? streamView(this, decoded(id), Boolean(play)) : VIEWS[known](this);
    place('view').replaceChildren(this.#view.node);
    document.title = `${t(this.#view.title)} – Anabranch`;
    for (const link of place('views').children) {
      link.toggleAttribute('aria-current', link.hash === `#/${known}`);
      if (link.hash === `#/${known}`) {
        link.setAttribute('aria-current', 'page');
        // On a phone there is no place for all of them.
        link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
      }
    }
    this.refresh();
  }

  /** Asks now, and then again and again. A question that is under way is given up. */
  async refresh() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const [health, summaries] = await Promise.all([
        ask('GET', '/health', {}, asking.signal), ask('GET', '/summaries', {}, asking.signal)]);
      this.#show(health.data, summaries.data);
      await this.#view.refresh(asking.signal);
      this.#mark(null);
    } catch (error) {
      if (error.name === 'AbortError' || asking.signal.aborted) {
        return;
      }
      if (!(error instanceof Refused)) {
        throw error;
      }
      if (this.#isRefused(error)) {
        return;
      }
    }
    if (this.#asking === asking && !document.hidden) {
      this.#timer = setTimeout(() => this.refresh(), AGAIN);
    }
  }

  /** What to do about an answer that is none; true if it makes no sense to ask again. */
  #isRefused(error) {
    if (error.status === 401) {
      this.#askForCredentials(isSignedIn());
      return true;
    }
    if (error.status === 403 || error.status === 404) {
      this.#showOnly('no-api');
      return true;
    }
    this.#mark(error.status === 0 ? t('lost') : error.message);
    return false;
  }

  #mark(words) {
    put(place('lost'), words ?? '');
    place('lost').hidden = words === null;
    if (words === null) {
      this.#showOnly('main');
    }
  }

  #showOnly(id) {
    for (const part of ['main', 'no-api', 'sign-in']) {
      place(part).hidden = part !== id;
    }
    place('top').dataset.part = id;
    place('sign-out').hidden = id !== 'main' || !isSignedIn();
  }

  #askForCredentials(isWrong) {
    this.#asking?.abort();
    clearTimeout(this.#timer);
    signOut();
    this.#view?.end();
    place('wrong').hidden = !isWrong;
    this.#showOnly('sign-in');
    place('token').focus();
  }

  #signIn() {
    const [token, user, password] = ['token', 'user', 'password'].map((id) => place(id).value);
    signIn({ token: token.trim(), user, password });
    place('sign-in').reset();
    this.#open();
  }

  #show(health, { self, system, now_ms: now }) {
    const key = `health_${health.status}`;
    const chip = place('health');
    put(chip, isKnown(key) ? t(key) : health.status);
    chip.className = `chip ${{ ok: 'good', degraded: 'bad' }[health.status] ?? 'warn'}`;
    const last = this.#last;
    this.#last = { now, received: system.srs_recv_bytes, sent: system.srs_send_bytes };
    const kbps = (field) => (last && now > last.now ? ((this.#last[field] - last[field]) * 8) / (now - last.now) : 0);
    const rows = [
      ['connections', count(system.conn_srs)],
      ['received', rate(kbps('received'))],
      ['sent', rate(kbps('sent'))],
      ['cpu', `${(self.cpu_percent * 100).toFixed(0)} %`],
      ['memory', size(self.mem_kbyte * 1024)],
      ['uptime', span(self.srs_uptime)],
    ];
    const tiles = place('tiles');
    if (tiles.children.length !== rows.length || tiles.lang !== document.documentElement.lang) {
      tiles.lang = document.documentElement.lang;
      tiles.replaceChildren(...facts(rows));
    } else {
      rows.forEach(([, value], index) => put(tiles.children[index].lastChild, value));
    }
  }
}

new Console();
addEventListener('unhandledrejection', ({ reason }) => say(String(reason), true));
