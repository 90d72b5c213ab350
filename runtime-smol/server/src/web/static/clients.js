// The connections, and what they do.

import { ask } from './api.js';
import { el, put, Rows } from './elements.js';
import { count, rate, span } from './numbers.js';
import { button, empty, Pages, removeClient, section, table, tableRow } from './parts.js';
import { t } from './words.js';

const PAGE = 50;
const MOST = 1000;

export const CLIENT_COLUMNS = ['role', 'stream', 'form', 'address', 'program', 'since', 'received', 'sent', 'network',
  'drops', ''];

// Of a client by WebRTC: the time to it and back, and what is lost on the way. All else appears below the pointer.
function network({ round_trip_ms: time, loss, jitter_ms: jitter, nacks, keys_wanted: keys, estimate_kbps: estimate }) {
  const words = [time !== null && t('milliseconds', time.toFixed(0)), loss !== null && t('percent', (loss * 100).toFixed(1))];
  const more = [jitter !== null && t('jitter', jitter.toFixed(1)), t('nacks', count(nacks)), t('keys_wanted', count(keys)),
    estimate !== null && t('estimate', rate(estimate))];
  return { words: words.filter(Boolean).join(' · ').replaceAll(' ', '\u00a0'), more: more.filter(Boolean).join(', ') };
}

export function clientRow(first, console) {
  const { node, of } = tableRow(...CLIENT_COLUMNS);
  let now = first;
  const name = `${first.ip}:${first.port}`;
  const remove = button('remove', async () => {
    await removeClient(now);
    console.refresh();
  }, 'danger small');
  remove.setAttribute('aria-label', t('remove_client', name));
  of[''].append(remove);
  return {
    node,
    update(client) {
      now = client;
      const roles = [...new Set(client.streams.map(({ role }) => role))];
      put(of.role, roles.length ? roles.map((role) => t(`role_${role}`)).join(', ') : t('role_'));
      put(of.stream, client.streams.map(({ key }) => key).join(', ') || '–');
      put(of.form, client.form || '–');
      put(of.address, name);
      put(of.program, client.flashVer || '–');
      put(of.since, span(client.alive));
      put(of.received, rate(client.kbps.recv_30s));
      put(of.sent, rate(client.kbps.send_30s));
      const { words, more } = client.rtc ? network(client.rtc) : { words: '', more: '' };
      put(of.network, words || '–');
      of.network.title = more;
      put(of.drops, count(client.dropped_frames));
    },
  };
}

export function clientsView(console) {
  const filter = el('input', { type: 'search', id: 'filter', autocomplete: 'off', spellcheck: 'false' });
  const { node: list, body } = table(...CLIENT_COLUMNS);
  const nothing = empty('none');
  const pages = new Pages(PAGE, () => console.refresh());
  const rows = new Rows(body, (client) => client.id, (client) => clientRow(client, console));
  filter.addEventListener('input', () => console.refresh());
  return {
    node: el('div', {},
      el('div', { class: 'tools' },
        el('label', { for: 'filter', 'data-t': 'filter_closes' }, t('filter_closes')), filter),
      section('clients', list, nothing, pages.node)),
    title: 'clients',
    end: () => rows.end(),
    async refresh(signal) {
      const wanted = filter.value.trim().toLowerCase();
      const page = wanted ? { start: 0, count: MOST } : { start: pages.start, count: PAGE };
      const { clients, total } = await ask('GET', '/clients', page, signal);
      const text = ({ ip, flashVer, streams }) => `${ip} ${flashVer} ${streams.map(({ key }) => key).join(' ')}`;
      const shown = wanted ? clients.filter((one) => text(one).toLowerCase().includes(wanted)) : clients;
      rows.show(shown);
      nothing.hidden = shown.length > 0;
      list.hidden = shown.length === 0;
      pages.show(shown.length, wanted ? shown.length : total);
    },
  };
}
