// The configuration in force, each value with its origin.

import { ask } from './api.js';
import { el, put, Rows } from './elements.js';
import { attempt, button, empty, section, table, tableRow } from './parts.js';
import { t } from './words.js';

const COLUMNS = ['key', 'value', 'origin'];

function valueRow() {
  const { node, of } = tableRow(...COLUMNS);
  return {
    node,
    update({ key, value, origin, is_default: isDefault }) {
      put(of.key, key);
      put(of.value, value);
      put(of.origin, origin);
      node.classList.toggle('quiet', isDefault);
    },
  };
}

export function settingsView(console) {
  const filter = el('input', { type: 'search', id: 'filter', autocomplete: 'off', spellcheck: 'false' });
  const only = el('input', { type: 'checkbox', id: 'only', checked: true });
  const { node: list, body } = table(...COLUMNS);
  const nothing = empty('all_default');
  const rows = new Rows(body, ({ key }) => key, valueRow);
  const reload = button('reload', async () => {
    const words = ({ data }) => t('reloaded', data.changed.join(', ') || t('nothing'));
    await attempt(words, () => ask('POST', '/reload'));
    console.refresh();
  });
  filter.addEventListener('input', () => console.refresh());
  only.addEventListener('change', () => console.refresh());
  return {
    node: el('div', {},
      el('div', { class: 'tools' },
        el('label', { for: 'filter', 'data-t': 'filter_closes' }, t('filter_closes')), filter,
        el('label', { class: 'check' }, only, el('span', { 'data-t': 'only_set' }, t('only_set'))), reload),
      section('settings', el('p', { class: 'quiet', 'data-t': 'settings_about' }, t('settings_about')), list, nothing)),
    title: 'settings',
    end: () => rows.end(),
    async refresh(signal) {
      const { values } = await ask('GET', '/settings', {}, signal);
      const wanted = filter.value.trim().toLowerCase();
      const shown = values.filter(({ key, value, is_default: isDefault }) => (
        !(only.checked && isDefault) && `${key} ${value}`.toLowerCase().includes(wanted)));
      rows.show(shown);
      list.hidden = shown.length === 0;
      nothing.hidden = shown.length > 0;
    },
  };
}
