// The server itself: health, drain, recordings, hooks, programs.

import { ask } from './api.js';
import { el, put, Rows } from './elements.js';
import { clock, count, size, span } from './numbers.js';
import { attempt, button, confirm, empty, facts, putChip, section, table, tableRow } from './parts.js';
import { isKnown, t } from './words.js';

/** A state that a newer server has is shown as it is. */
const stateWords = (of, state) => (isKnown(`${of}_${state}`) ? t(`${of}_${state}`) : state);

/** A list in a table, with words for nothing. */
function listOf(columns, none, idOf, fill) {
  const { node, body } = table(...columns);
  const nothing = empty(none);
  const rows = new Rows(body, idOf, () => {
    const row = tableRow(...columns);
    return { node: row.node, update: (item) => fill(row.of, item) };
  });
  return {
    nodes: [node, nothing],
    end: () => rows.end(),
    show(items) {
      rows.show(items);
      node.hidden = items.length === 0;
      nothing.hidden = items.length > 0;
    },
  };
}

export function serverView(console) {
  const reasons = el('ul', { class: 'reasons' });
  const well = empty('all_well');
  const about = el('dl', { class: 'facts' });
  const drainWords = el('p', { 'aria-live': 'polite' });
  const seconds = el('input', { type: 'number', min: 0, max: 86_400, value: 30, name: 'seconds' });
  const url = el('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', name: 'tc_url',
    placeholder: 'rtmp://other.example' });
  const field = (key, input) => el('label', {}, el('span', { 'data-t': key }, t(key)), input);
  const form = el('form', { class: 'tools' }, field('drain_seconds', seconds), field('drain_url', url),
    el('button', { type: 'submit', class: 'danger', 'data-t': 'drain_begin' }, t('drain_begin')));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (await confirm(t('drain_ask'), t('drain_begin'))) {
      const to = url.value.trim() ? { tc_url: url.value.trim() } : {};
      await attempt(t('drain_begun'), () => ask('POST', '/drain', { seconds: seconds.value, ...to }));
      console.refresh();
    }
  });
  const undo = button('drain_undo', async () => {
    await attempt(t('drain_undone'), () => ask('DELETE', '/drain'));
    console.refresh();
  }, 'main');
  const recordings = listOf(['stream', 'file', 'size', 'state'], 'none_recordings',
    (one) => `${one.key} ${one.since_ms}`, (of, one) => {
      put(of.stream, one.key);
      put(of.file, one.file || '–');
      put(of.size, size(one.bytes));
      const words = one.error || stateWords('recording', one.state);
      putChip(of.state, { recording: 'good', failing: 'bad' }[one.state] ?? 'calm', words);
    });
  const hooks = listOf(['target', 'state', 'last_error'], 'none_hooks', (one) => one.url, (of, one) => {
    put(of.target, one.url);
    putChip(of.state, { ok: 'good', failing: 'bad' }[one.state] ?? 'calm', stateWords('state', one.state));
    put(of.last_error, one.last_error || '–');
  });
  const runs = listOf(['stream', 'program', 'state'], 'none_runs', (one) => one.id, (of, one) => {
    put(of.stream, one.key);
    put(of.program, one.name || one.program);
    putChip(of.state, { running: 'good', over: 'calm' }[one.state] ?? 'warn', stateWords('state', one.state));
  });
  return {
    node: el('div', {},
      section('health', well, reasons),
      section('about', about),
      section('drain', el('p', { class: 'quiet', 'data-t': 'drain_about' }, t('drain_about')), drainWords, form, undo),
      section('recordings', ...recordings.nodes),
      section('hooks', ...hooks.nodes),
      section('runs', ...runs.nodes)),
    title: 'server',
    end() {
      [recordings, hooks, runs].forEach((list) => list.end());
    },
    async refresh(signal) {
      const paths = ['/health', '/summaries', '/versions', '/recordings', '/hooks', '/runs'];
      const [health, summaries, versions, recorded, called, programs] = await Promise.all(
        paths.map((path) => ask('GET', path, {}, signal)));
      const { reasons: wrong, drain } = health.data;
      well.hidden = wrong.length > 0;
      reasons.replaceChildren(...wrong.map((reason) => el('li', {},
        el('strong', {}, reason.code), ` ${reason.subject}: ${reason.words} (${clock(reason.time_ms)})`)));
      put(drainWords, drain ? t('drain_state', drain.connections, drain.seconds_left) : '');
      form.hidden = drain !== null;
      undo.hidden = !drain?.can_be_undone;
      const { self, system } = summaries.data;
      about.replaceChildren(...facts([
        ['version', `${versions.data.program} ${versions.data.version}`],
        ['process', `${self.pid}`],
        ['uptime', span(self.srs_uptime)],
        ['cpu', `${(self.cpu_percent * 100).toFixed(0)} %`],
        ['memory', size(self.mem_kbyte * 1024)],
        ['stream_memory', t('of', size(self.stream_memory), size(self.stream_memory_limit))],
        ['load', `${system.load_1m} (${system.cpus} CPU)`],
        ['connections', count(system.conn_srs)],
        ['received', size(system.srs_recv_bytes)],
        ['sent', size(system.srs_send_bytes)],
      ]));
      recordings.show(recorded.recordings);
      hooks.show(called.hooks);
      runs.show(programs.runs);
    },
  };
}
