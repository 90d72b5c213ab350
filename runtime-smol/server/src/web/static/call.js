// A room where people meet: the page at /call/ROOM. Each one publishes a stream of the application `call/ROOM` by WHIP
// and plays those of the others by WHEP. Parameters of the address, such as a token, go with each request. The session
// of a publisher tells which others there are, so only people that may publish in the room learn it.

import './looks.js';
import { decoded } from './address.js';
import { el, put, Rows } from './elements.js';
import { mediaAddress, Player } from './player.js';
import { publish } from './webrtc.js';
import { t } from './words.js';

/** Milliseconds between two questions for the others, and between attempts to join. */
const ASK = 1_000;
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 10_000;
/** Letters of a name. */
const LONGEST_NAME = 32;
/** What a camera is asked for. */
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const NAME = 'anabranch.name';

/** Answers after which another attempt is of no use. */
const FINAL = { 400: 'call_codec', 401: 'call_refused', 403: 'call_refused', 404: 'call_off', 406: 'call_codec',
  422: 'call_codec' };

const place = document.getElementById('view');
const [scheme, port] = document.documentElement.dataset.media.split(':');
const base = port ? `${scheme}://${location.hostname}:${port}/` : undefined;
const parameters = new URLSearchParams(location.search);

/** The name in that of a stream: NAME-RANDOM. */
const nameIn = (stream) => stream.replace(/-[0-9a-f]+$/, '');

class Call {
  #room;
  #name;
  #stream = '';
  #media;
  #session = null;
  #retry = 0;
  #clock = 0;
  #pause = FIRST_PAUSE;
  #isOver = false;
  #ended;

  constructor(room, name, media, ended) {
    this.#room = room;
    this.#name = name;
    this.#media = media;
    this.#ended = ended;
    this.status = el('p', { class: 'call-status', role: 'status' });
    const own = el('video', { playsinline: true, autoplay: true, class: 'own', 'aria-label': t('you', name) });
    own.muted = true;
    own.srcObject = media;
    const others = el('div', { class: 'call-others' });
    this.tiles = el('div', { class: 'call-tiles' }, tile(own, t('you', name)), others);
    this.others = new Rows(others, (stream) => stream, (stream) => this.#other(stream));
    const leave = el('button', { type: 'button', class: 'danger', 'data-t': 'leave', onclick: () => this.end() },
      t('leave'));
    this.node = el('section', { class: 'call-room' }, this.tiles, this.status,
      el('div', { class: 'call-bar' }, this.#toggle('audio', 'microphone'), this.#toggle('video', 'camera'), leave));
  }

  /** A button that silences the tracks of a kind; none if there are none. */
  #toggle(kind, words) {
    const tracks = this.#media.getTracks().filter((track) => track.kind === kind);
    if (tracks.length === 0) {
      return null;
    }
    const button = el('button', { type: 'button', id: words });
    const show = () => {
      const isOn = tracks[0].enabled;
      button.dataset.t = `${words}_${isOn ? 'off' : 'on'}`;
      button.classList.toggle('muted', !isOn);
      put(button, t(button.dataset.t));
    };
    button.addEventListener('click', () => {
      tracks.forEach((track) => { track.enabled = !track.enabled; });
      show();
    });
    show();
    return button;
  }

  #address(stream, suffix) {
    const [room, name] = [this.#room, stream].map((part) => part.replaceAll('?', '%3F'));
    return mediaAddress(`call/${room}/${name}`, suffix, base, parameters);
  }

  #other(stream) {
    const name = nameIn(stream);
    const video = el('video', { playsinline: true, 'aria-label': name });
    const player = new Player(video, (suffix) => this.#address(stream, suffix), 'webrtc');
    // The person has clicked to join, so the page may have sound.
    video.muted = false;
    const node = tile(video, name);
    node.dataset.stream = stream;
    player.addEventListener('state', () => { node.dataset.state = player.state; });
    player.start();
    return { node, end: () => player.stop() };
  }

  begin() {
    put(this.status, t('call_joining'));
    this.#join();
  }

  #join() {
    clearInterval(this.#clock);
    // The server may not know yet that the connection before is lost, so its name may be taken.
    const random = crypto.getRandomValues(new Uint8Array(4));
    this.#stream = `${this.#name}-${[...random].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
    const session = publish(this.#address(this.#stream, '/whip'), this.#media, {
      connected: () => {
        this.#pause = FIRST_PAUSE;
        this.#clock = setInterval(() => this.#ask(), ASK);
        this.#ask();
      },
      gone: ({ status, why }) => this.#gone(status, why),
    });
    this.#session = session;
  }

  #gone(status, why) {
    clearInterval(this.#clock);
    if (FINAL[status] !== undefined) {
      this.end(t(FINAL[status]));
      return;
    }
    put(this.status, t({ 0: 'no_answer', 503: 'call_full' }[status]
      ?? (why === 'unreachable' ? 'call_unreachable' : 'call_lost')));
    this.#retry = setTimeout(() => this.#join(), this.#pause * (0.75 + Math.random() / 2));
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
  }

  /** Asks for the others. */
  async #ask() {
    const session = this.#session;
    let streams;
    try {
      const answer = await fetch(`${session.location.href}/peers`, { cache: 'no-store' });
      if (!answer.ok) {
        return;
      }
      ({ streams } = await answer.json());
    } catch {
      // The session itself tells when it is over.
      return;
    }
    if (session === this.#session && !this.#isOver) {
      const others = streams.filter((stream) => stream !== this.#stream);
      this.others.show(others);
      this.tiles.dataset.count = Math.min(others.length + 1, 5);
      put(this.status, others.length === 0 ? t('call_alone') : '');
    }
  }

  end(words = '') {
    if (this.#isOver) {
      return;
    }
    this.#isOver = true;
    clearInterval(this.#clock);
    clearTimeout(this.#retry);
    this.#session?.close();
    this.others.end();
    this.#media.getTracks().forEach((track) => track.stop());
    this.#ended(words);
  }
}

function tile(video, name) {
  return el('figure', { class: 'call-tile' }, video, el('figcaption', {}, name));
}

/** The camera and the microphone, or what there is of them. */
async function devices() {
  const echo = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  for (const wanted of [{ video: CAMERA, audio: echo }, { audio: echo }, { video: CAMERA }]) {
    try {
      return await navigator.mediaDevices.getUserMedia(wanted);
    } catch {
      // One of them may be missing, or be in use.
    }
  }
  return null;
}

function lobby(room, words = '') {
  const name = el('input', { id: 'name', maxlength: LONGEST_NAME, autocomplete: 'nickname',
    value: localStorage.getItem(NAME) ?? '' });
  const status = el('p', { class: 'call-status', role: 'status' }, words);
  const button = el('button', { type: 'submit', class: 'main', 'data-t': 'join' }, t('join'));
  const form = el('form', { class: 'card narrow' }, el('h1', {}, room),
    el('p', { 'data-t': 'call_about' }, t('call_about')),
    el('p', {}, el('code', {}, `${location.origin}${location.pathname}`)),
    el('label', { for: 'name', 'data-t': 'your_name' }, t('your_name')), name, button, status);
  const stop = navigator.mediaDevices === undefined ? 'call_insecure'
    : globalThis.RTCPeerConnection === undefined && 'call_no_webrtc';
  if (stop) {
    button.disabled = true;
    put(status, t(stop));
  }
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    const given = name.value.replace(/[^\p{L}\p{N} _.]/gu, '').trim();
    localStorage.setItem(NAME, given);
    const media = await devices();
    if (media === null) {
      button.disabled = false;
      put(status, t('call_no_devices'));
      return;
    }
    const call = new Call(room, given || t('guest'), media, (why) => lobby(room, why));
    place.replaceChildren(call.node);
    call.begin();
  });
  place.replaceChildren(form);
  name.focus();
}

function door() {
  const room = el('input', { id: 'room', required: true, maxlength: 64, pattern: '[^/?#%]+' });
  const form = el('form', { class: 'card narrow' }, el('label', { for: 'room', 'data-t': 'room' }, t('room')), room,
    el('button', { type: 'submit', class: 'main', 'data-t': 'to_room' }, t('to_room')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    location.assign(`/call/${encodeURIComponent(room.value.trim())}${location.search}`);
  });
  place.replaceChildren(form);
}

const room = decoded(location.pathname.replace(/^\/call\/?/, '').split('/')[0]);
document.title = t('call_title', room || 'Anabranch');
if (room) {
  lobby(room);
} else {
  door();
}
