// The live streams, each with a picture on demand, its bit rate and its players.

import { ask } from './api.js';
import { Chart, History } from './chart.js';
import { el, put, Rows } from './elements.js';
import { audioWords, count, rate, span, videoWords } from './numbers.js';
import { button, chip, empty, Pages } from './parts.js';
import { takePicture } from './picture.js';
import { mediaAddress } from './player.js';
import { t } from './words.js';

const PAGE = 50;
const MOST = 1000;
/** What the console knows of streams while it is open, by their ids. */
const known = new Map();

/** The history of a stream: it goes on while another view is open. */
export function historyOf(stream) {
  const now = known.get(stream.id) ?? { history: new History() };
  now.history.add(stream.live_ms, stream.recv_bytes);
  known.set(stream.id, now);
  if (known.size > MOST) {
    known.delete(known.keys().next().value);
  }
  return now.history;
}

export function addressOf(stream, media) {
  return (suffix) => mediaAddress(stream.key, suffix, media);
}

/** How far the slowest player is behind: in time where the frame rate is known. */
export function lagWords({ lag_frames: lag, fps }) {
  return fps > 1 && lag > 0 ? span(lag / fps) : t('frames', count(lag));
}

/** What deserves attention in a stream. */
export function marks(stream) {
  const { publish, video, audio, idle_ms: idle } = stream;
  const isLive = publish.active || publish.fallback;
  return [
    !isLive && chip('warn', t('not_published')),
    publish.fallback && chip('warn', t('fallback')),
    publish.backup !== '' && chip('good', t('has_backup')),
    stream.keyless && chip('bad', t('keyless')),
    publish.active && idle > 3000 && chip('bad', t('silent', span(idle / 1000))),
    isLive && !video && audio && chip('calm', t('audio_only')),
    isLive && video && !audio && chip('calm', t('video_only')),
  ].filter(Boolean);
}

/** Replaces marks only if they have changed. */
export function putMarks(place, stream) {
  const now = marks(stream);
  const words = (nodes) => nodes.map((mark) => mark.textContent).join();
  const same = words(now) === words([...place.children]);
  if (!same) {
    place.replaceChildren(...now);
  }
}

function card(first, media) {
  const href = `#/streams/${encodeURIComponent(first.id)}`;
  const label = t('picture_of', first.key);
  const canvas = el('canvas', { class: 'picture', role: 'img', hidden: true, 'aria-label': label });
  const words = el('p', { class: 'picture-words' });
  const take = button('take_picture', async () => {
    take.disabled = true;
    put(words, t('taking'));
    const came = await takePicture(addressOf(first, media), canvas);
    take.disabled = false;
    canvas.hidden = !came;
    put(words, came ? '' : t('no_picture'));
  }, 'quiet');
  const play = el('a', { class: 'button', href: `${href}/play`, 'data-t': 'play' }, t('play'));
  const [players, drops, lag, now] = Array.from({ length: 4 }, () => el('span'));
  const [video, picture, audio] = Array.from({ length: 3 }, () => el('p', { class: 'codecs' }));
  const place = el('p', { class: 'marks' });
  const chart = new Chart(true);
  const fact = (key, value) => el('div', {}, el('dt', { 'data-t': key }, t(key)), el('dd', {}, value));
  const node = el('li', { class: 'card stream', 'data-key': first.key },
    el('div', { class: 'picture-box' }, canvas, words, el('div', { class: 'picture-tools' }, play, take)),
    el('div', { class: 'stream-body' },
      el('h2', {}, el('a', { href }, first.key)), place,
      video, picture, audio,
      el('div', { class: 'stream-rate' }, el('strong', {}, now), chart.node),
      el('dl', { class: 'small-facts' }, fact('players', players), fact('drops', drops), fact('lag', lag))));
  return {
    node,
    update(stream) {
      const history = historyOf(stream);
      const { video: seen, audio: heard } = stream;
      const sizeWords = seen?.width ? `${seen.width} × ${seen.height}` : '';
      const fps = seen && stream.fps > 0 ? t('fps', stream.fps.toFixed(1).replace(/\.0$/, '')) : '';
      put(video, seen ? videoWords(seen) : '');
      put(picture, [sizeWords, fps].filter(Boolean).join(' · '));
      put(audio, heard ? audioWords(heard) : '');
      put(players, count(stream.players));
      put(drops, count(stream.dropped_frames));
      put(lag, lagWords(stream));
      put(now, rate(history.newest ?? stream.kbps.recv_30s));
      putMarks(place, stream);
      chart.show(history, 60_000);
    },
  };
}

/** The view of all streams. */
export function streamsView(console) {
  const filter = el('input', { type: 'search', id: 'filter', autocomplete: 'off', spellcheck: 'false' });
  const list = el('ul', { class: 'streams' });
  const nothing = el('div', { class: 'card empty', hidden: true });
  const pages = new Pages(PAGE, () => console.refresh());
  const rows = new Rows(list, (stream) => stream.id, (stream) => card(stream, console.media));
  filter.addEventListener('input', () => console.refresh());
  const node = el('div', {},
    el('div', { class: 'tools' }, el('label', { for: 'filter', 'data-t': 'filter' }, t('filter')), filter),
    list, nothing, pages.node);
  return {
    node,
    title: 'streams',
    end: () => rows.end(),
    async refresh(signal) {
      const wanted = filter.value.trim().toLowerCase();
      const page = wanted ? { start: 0, count: MOST } : { start: pages.start, count: PAGE };
      const { streams, total } = await ask('GET', '/streams', page, signal);
      const shown = wanted ? streams.filter(({ key }) => key.toLowerCase().includes(wanted)) : streams;
      rows.show(shown);
      pages.show(shown.length, wanted ? shown.length : total);
      nothing.hidden = shown.length > 0;
      if (!nothing.hidden && nothing.dataset.kind !== String(Boolean(wanted))) {
        nothing.dataset.kind = String(Boolean(wanted));
        const example = `ffmpeg -re -i FILE -c copy -f flv rtmp://${location.hostname}/live/cam`;
        nothing.replaceChildren(...(wanted ? [empty('none_found')] : [empty('none_streams'), el('code', {}, example)]));
      }
    },
  };
}
