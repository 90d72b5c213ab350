// The connections that ended last, with the reasons.

import { ask } from './api.js';
import { el, put, Rows } from './elements.js';
import { clock, count, size, span } from './numbers.js';
import { empty, section, table, tableRow } from './parts.js';
import { t } from './words.js';

const COLUMNS = ['time', 'role', 'stream', 'address', 'reason', 'lasted', 'data', 'drops'];

function closeRow() {
  const { node, of } = tableRow(...COLUMNS);
  return {
    node,
    update(close) {
      put(of.time, clock(close.time_ms));
      put(of.role, close.request ? t('refused_request', close.request) : t(`role_${close.role}`));
      put(of.stream, close.stream || '–');
      put(of.address, close.ip || '–');
      const code = close.code ? ` (${close.code})` : '';
      put(of.reason, `${close.words || close.reason}${code}`);
      of.reason.title = close.reason;
      put(of.lasted, span(close.alive));
      put(of.data, `${size(close.recv_bytes)} / ${size(close.send_bytes)}`);
      put(of.drops, count(close.dropped_frames));
      node.classList.toggle('refused', close.request !== '');
    },
  };
}

export function closesView(console) {
  const filter = el('input', { type: 'search', id: 'filter', autocomplete: 'off', spellcheck: 'false' });
  const { node: list, body } = table(...COLUMNS);
  const nothing = empty('none_closes');
  const rows = new Rows(body, (close) => close.id, closeRow);
  filter.addEventListener('input', () => console.refresh());
  return {
    node: el('div', {},
      el('div', { class: 'tools' },
        el('label', { for: 'filter', 'data-t': 'filter_closes' }, t('filter_closes')), filter),
      section('closes', el('p', { class: 'quiet', 'data-t': 'closes_about' }, t('closes_about')), list, nothing)),
    title: 'closes',
    end: () => rows.end(),
    async refresh(signal) {
      const { closes } = await ask('GET', '/closes', { count: 1000 }, signal);
      const wanted = filter.value.trim().toLowerCase();
      const text = (one) => `${one.stream} ${one.ip} ${one.words} ${one.reason} ${one.code} ${one.request} ${one.role}`;
      const shown = closes.filter((close) => text(close).toLowerCase().includes(wanted));
      rows.show(shown);
      list.hidden = shown.length === 0;
      nothing.hidden = shown.length > 0;
    },
  };
}
