// One stream: the player, the bit rate, its facts, its connections, its pushes.

import { ask, Refused } from './api.js';
import { Chart } from './chart.js';
import { clientRow, CLIENT_COLUMNS } from './clients.js';
import { el, put, Rows } from './elements.js';
import { audioWords, count, rate, size, videoWords } from './numbers.js';
import { attempt, button, confirm, empty, facts, section, table } from './parts.js';
import { formsHere } from './player.js';
import { pushRow, PUSH_COLUMNS, pushForm } from './relays.js';
import { Screen } from './screen.js';
import { addressOf, historyOf, lagWords, putMarks } from './streams.js';
import { t } from './words.js';

export function streamView(console, id, playsAtOnce) {
  let screen = null;
  let shown = null;
  const name = el('h1');
  const marks = el('p', { class: 'marks' });
  const box = el('div', { class: 'screen-box' });
  const forms = el('select', { id: 'form' });
  const toggle = button('start_player', () => (screen ? end() : begin()), 'main');
  const watch = el('a', { target: '_blank', rel: 'noopener', class: 'button', 'data-t': 'watch_page' },
    t('watch_page'));
  const kick = button('remove_publisher', () => remove(), 'danger');
  // Nothing is known of the stream yet.
  toggle.disabled = kick.disabled = true;
  const about = el('dl', { class: 'facts' });
  const chart = new Chart(false);
  const clients = table(...CLIENT_COLUMNS);
  const pushes = table(...PUSH_COLUMNS);
  const [noClients, noPushes] = [empty('none'), empty('none_pushes')];
  const clientRows = new Rows(clients.body, (client) => client.id, (client) => clientRow(client, console));
  const pushRows = new Rows(pushes.body, (push) => push.id, (push) => pushRow(push, console));

  const begin = () => {
    screen = new Screen(addressOf(shown, console.media), forms.value);
    box.replaceChildren(screen.node);
    screen.start();
    mark('stop_player');
  };
  const end = () => {
    screen?.stop();
    screen = null;
    box.replaceChildren();
    mark('start_player');
  };
  const mark = (key) => {
    toggle.dataset.t = key;
    put(toggle, t(key));
  };
  const remove = async () => {
    if (await confirm(t('remove_publisher_ask', shown.key), t('do_remove'))) {
      await attempt(t('removed', shown.key), () => ask('DELETE', `/streams/${encodeURIComponent(id)}`));
      console.refresh();
    }
  };
  forms.addEventListener('change', () => screen?.become(forms.value));
  forms.append(...formsHere(document.createElement('video')).map((form) => (
    el('option', { value: form, 'data-t': `form_${form}` }, t(`form_${form}`)))));

  const node = el('div', { class: 'one-stream' },
    el('p', {}, el('a', { href: '#/streams', 'data-t': 'back' }, t('back'))), name, marks,
    el('div', { class: 'columns' },
      el('section', { class: 'card' }, box,
        el('div', { class: 'tools' }, toggle,
          el('label', { for: 'form', 'data-t': 'form' }, t('form')), forms, watch)),
      el('div', {},
        section('bit_rate_time', chart.node),
        section('facts', about, el('div', { class: 'tools' }, kick)))),
    section('clients', clients.node, noClients),
    section('pushes', pushes.node, noPushes, pushForm(console, () => shown?.key)));

  const show = (stream) => {
    const isFirst = shown === null;
    shown = stream;
    put(name, stream.key);
    document.title = `${stream.key} – Anabranch`;
    putMarks(marks, stream);
    const [path, query] = stream.key.split(/\?(.*)/s);
    const page = new URL(`/watch/${path.split('/').map(encodeURIComponent).join('/')}`, console.media ?? location.href);
    page.search = query ?? '';
    watch.href = page.href;
    const history = historyOf(stream);
    chart.show(history);
    toggle.disabled = false;
    kick.disabled = !stream.publish.active;
    const { video, audio, publish } = stream;
    about.replaceChildren(...facts([
      ['video', video ? videoWords(video) : '–'],
      ['picture', video?.width ? `${video.width} × ${video.height}` : '–'],
      ['frame_rate', t('fps', stream.fps.toFixed(1))],
      ['gop', stream.gop_ms === null ? '–' : `${stream.gop_ms / 1000} s`],
      ['audio', audio ? audioWords(audio) : '–'],
      ['bit_rate', rate(history.newest ?? stream.kbps.recv_30s)],
      ['players', count(stream.players)],
      ['drops', count(stream.dropped_frames)],
      ['lag', lagWords(stream)],
      ['merge_window', `${stream.merge_window_ms} ms`],
      ['received', size(stream.recv_bytes)],
      ['stream_memory', size(stream.held_bytes)],
      ['jumps', count(stream.jumps)],
      publish.switches > 0 && ['switches', count(publish.switches)],
      stream.application !== '' && ['application', stream.application],
    ]));
    if (isFirst) {
      node.dataset.ready = 'true';
      if (playsAtOnce) {
        begin();
      }
    }
  };

  return {
    node,
    title: 'streams',
    end() {
      end();
      clientRows.end();
      pushRows.end();
    },
    async refresh(signal) {
      let stream;
      try {
        ({ stream } = await ask('GET', `/streams/${encodeURIComponent(id)}`, {}, signal));
      } catch (error) {
        if (!(error instanceof Refused && error.status === 404)) {
          throw error;
        }
        end();
        node.replaceChildren(el('p', {}, el('a', { href: '#/streams' }, t('back'))), empty('gone'));
        return;
      }
      show(stream);
      const [{ clients: all }, { forwards }] = await Promise.all([
        ask('GET', '/clients', { count: 1000 }, signal), ask('GET', '/forwards', { count: 1000 }, signal)]);
      const own = all.filter(({ streams }) => streams.some(({ key }) => key === stream.key)).slice(0, 200);
      clientRows.show(own);
      noClients.hidden = own.length > 0;
      clients.node.hidden = own.length === 0;
      const targets = forwards.filter((push) => push.stream_id === stream.id);
      pushRows.show(targets);
      noPushes.hidden = targets.length > 0;
      pushes.node.hidden = targets.length === 0;
    },
  };
}
