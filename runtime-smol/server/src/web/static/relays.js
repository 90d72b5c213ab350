// Pushes and pulls, and the servers of the cluster.

import { ask } from './api.js';
import { el, put, Rows } from './elements.js';
import { clock, count, size, span } from './numbers.js';
import { attempt, button, confirm, empty, facts, putChip, section, table, tableRow } from './parts.js';
import { t } from './words.js';

export const PUSH_COLUMNS = ['stream', 'target', 'state', 'since', 'sent', 'drops', 'last_error', ''];
const PULL_COLUMNS = ['stream', 'form', 'target', 'state', 'since', 'received', 'last_error'];
const NODE_COLUMNS = ['node', 'address', 'version', 'streams', 'players', 'state'];

const KINDS = { live: 'good', lagging: 'warn', waiting: 'warn', refused: 'bad', silent: 'warn' };

function nameOf({ app, stream, vhost }) {
  return { name: `${app}/${stream}`, vhost };
}

function showState(cell, relay) {
  putChip(cell, KINDS[relay.state] ?? 'calm', t(`state_${relay.state}`));
}

function errorWords({ last_error: error, next_try_ms: next }) {
  const wait = next > 0 ? t('next_try', span(Math.max(0, next - Date.now()) / 1000)) : '';
  const words = error ? [error.words, error.code && `(${error.code})`].filter(Boolean).join(' ') : '';
  return [words, wait].filter(Boolean).join('; ') || '–';
}

export function pushRow(first, console) {
  const { node, of } = tableRow(...PUSH_COLUMNS);
  const { name } = nameOf(first);
  const end = button('end_push', async () => {
    if (await confirm(t('end_push_ask', name, first.target), t('end_push'))) {
      await attempt(t('push_ended'), () => ask('DELETE', `/forwards/${first.id}`));
      console.refresh();
    }
  }, 'danger small');
  end.setAttribute('aria-label', t('end_push_of', name, first.target));
  of[''].append(end);
  return {
    node,
    update(push) {
      put(of.stream, name);
      put(of.target, push.target);
      showState(of.state, push);
      put(of.since, span(push.state_ms / 1000));
      put(of.sent, size(push.send_bytes));
      put(of.drops, count(push.dropped_frames));
      put(of.last_error, errorWords(push));
    },
  };
}

/** A form that adds a push: of a certain stream, or of one that the form asks for. */
export function pushForm(console, streamOf) {
  const stream = el('input', { type: 'text', required: true, autocomplete: 'off', spellcheck: 'false',
    name: 'stream' });
  const url = el('input', { type: 'text', required: true, autocomplete: 'off', spellcheck: 'false', name: 'url',
    placeholder: 'rtmp://other.example/live/cam' });
  const field = (key, input) => el('label', {}, el('span', { 'data-t': key }, t(key)), input);
  const form = el('form', { class: 'tools' }, streamOf ? null : field('push_stream', stream), field('push_url', url),
    el('button', { type: 'submit', 'data-t': 'add_push' }, t('add_push')));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const parameters = { stream: streamOf ? streamOf() : stream.value.trim(), url: url.value.trim() };
    if (await attempt(t('push_added'), () => ask('POST', '/forwards', parameters))) {
      form.reset();
      console.refresh();
    }
  });
  return form;
}

function pullRow(first) {
  const { node, of } = tableRow(...PULL_COLUMNS);
  return {
    node,
    update(pull) {
      put(of.stream, nameOf(first).name);
      put(of.form, t(`kind_${pull.kind}`));
      put(of.target, pull.target);
      showState(of.state, pull);
      put(of.since, span(pull.state_ms / 1000));
      put(of.received, size(pull.recv_bytes));
      put(of.last_error, errorWords(pull));
    },
  };
}

function nodeRow() {
  const { node, of } = tableRow(...NODE_COLUMNS);
  return {
    node,
    update(server) {
      put(of.node, server.is_this ? `${server.node} (${t('this_server')})` : server.node);
      put(of.address, server.advertise || '–');
      put(of.version, server.version);
      put(of.streams, count(server.streams));
      put(of.players, count(server.players));
      putChip(of.state, server.draining ? 'warn' : 'good', server.draining ? t('health_draining') : t('accepts'));
    },
  };
}

export function relaysView(console) {
  const pushes = table(...PUSH_COLUMNS);
  const pulls = table(...PULL_COLUMNS);
  const nodes = table(...NODE_COLUMNS);
  const [noPushes, noPulls, alone] = [empty('none_pushes'), empty('none_pulls'), empty('cluster_off')];
  const about = el('dl', { class: 'facts' });
  const lists = [
    new Rows(pushes.body, (push) => push.id, (push) => pushRow(push, console)),
    new Rows(pulls.body, (pull) => pull.id, pullRow),
    new Rows(nodes.body, (server) => server.node, nodeRow),
  ];
  const show = (rows, list, nothing, items) => {
    rows.show(items);
    list.node.hidden = items.length === 0;
    nothing.hidden = items.length > 0;
  };
  return {
    node: el('div', {},
      section('pushes', pushes.node, noPushes, pushForm(console)),
      section('pulls', pulls.node, noPulls),
      section('cluster', about, nodes.node, alone)),
    title: 'relays',
    end: () => lists.forEach((rows) => rows.end()),
    async refresh(signal) {
      const [{ forwards }, { edge }, { data }] = await Promise.all([
        ask('GET', '/forwards', { count: 1000 }, signal),
        ask('GET', '/edge', { count: 1000 }, signal),
        ask('GET', '/cluster', {}, signal),
      ]);
      show(lists[0], pushes, noPushes, forwards);
      show(lists[1], pulls, noPulls, edge);
      show(lists[2], nodes, alone, data.nodes);
      alone.hidden = data.state !== 'off';
      about.replaceChildren(...(data.state === 'off' ? [] : facts([
        ['state', t(`cluster_${data.state}`)],
        ['directory', data.directory],
        ['leases', count(data.leases)],
        data.last_error !== '' && ['last_error', `${data.last_error} (${clock(data.last_error_ms)})`],
      ])));
    },
  };
}
