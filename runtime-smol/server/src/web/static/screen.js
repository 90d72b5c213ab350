// A player with its buttons: sound, pause, statistics, full screen, and what it waits for.

import { el, put } from './elements.js';
import { Player } from './player.js';
import { t } from './words.js';

/** Milliseconds between two looks at the statistics. */
const LOOK = 500;

export class Screen {
  #player = null;
  #timer;
  #address;
  #form;
  #last = { at: 0, bytes: 0, frames: 0 };

  /**
   * @param address a function from a suffix to the URL of the stream in that form
   * @param form the form that is tried first
   */
  constructor(address, form) {
    this.#address = address;
    this.#form = form;
    this.video = el('video', { playsinline: true, muted: true, 'aria-label': t('video') });
    this.status = el('p', { class: 'screen-status', role: 'status' });
    this.sound = this.#button('sound_on', () => this.#toggleSound());
    this.play = this.#button('pause', () => this.#togglePlay());
    this.full = this.#button('full_screen', () => this.#toggleFull());
    this.facts = el('dl', { class: 'screen-facts', hidden: true });
    this.more = this.#button('statistics', () => this.#toggleFacts());
    this.more.setAttribute('aria-expanded', 'false');
    this.live = el('span', { class: 'screen-live' });
    const bar = el('div', { class: 'screen-bar' }, this.play, this.sound, this.live, this.more, this.full);
    this.node = el('section', { class: 'screen', 'aria-label': t('player') }, this.video, this.status, this.facts, bar);
    this.video.addEventListener('dblclick', () => this.#toggleFull());
    this.video.addEventListener('volumechange', () => this.#showSound());
  }

  #button(key, onclick) {
    return el('button', { type: 'button', onclick, 'data-t': key }, t(key));
  }

  start() {
    this.#player = new Player(this.video, this.#address, this.#form);
    this.#player.addEventListener('state', () => this.#showState());
    this.#player.start();
    this.#timer = setInterval(() => this.#look(), LOOK);
    this.#showState();
    this.#showSound();
  }

  stop() {
    clearInterval(this.#timer);
    this.#player?.stop();
    this.#player = null;
  }

  /** The same stream in another form. */
  become(form) {
    this.stop();
    this.#form = form;
    this.start();
  }

  get form() {
    return this.#player?.form ?? this.#form;
  }

  #toggleSound() {
    this.video.muted = !this.video.muted;
    this.video.volume = 1;
  }

  #showSound() {
    const key = this.video.muted ? 'sound_on' : 'sound_off';
    this.sound.dataset.t = key;
    put(this.sound, t(key));
    this.sound.classList.toggle('call', this.video.muted);
  }

  #togglePlay() {
    if (this.#player.state === 'idle') {
      this.#player.start();
    } else {
      this.#player.pause();
    }
  }

  #toggleFull() {
    if (document.fullscreenElement) {
      document.exitFullscreen();
    } else if (this.node.requestFullscreen) {
      this.node.requestFullscreen();
    } else {
      // iPhones have it for the element alone.
      this.video.webkitEnterFullscreen?.();
    }
  }

  #toggleFacts() {
    this.facts.hidden = !this.facts.hidden;
    this.more.setAttribute('aria-expanded', String(!this.facts.hidden));
    this.#look();
  }

  #showState() {
    const { state, words } = this.#player;
    this.node.dataset.state = state;
    const isFine = state === 'playing';
    put(this.status, isFine ? '' : t(words || state));
    this.status.hidden = isFine;
    const key = state === 'idle' ? 'play' : 'pause';
    this.play.dataset.t = key;
    put(this.play, t(key));
    this.#look();
  }

  #look() {
    const stats = this.#player?.stats();
    if (stats === undefined) {
      return;
    }
    const isPlaying = this.#player.state === 'playing';
    put(this.live, isPlaying && stats.form !== 'hls' ? t('delay', Math.round(stats.ahead * 1000)) : '');
    if (this.facts.hidden) {
      return;
    }
    const now = performance.now();
    const passed = (now - this.#last.at) / 1000;
    if (passed < 0.2) {
      return;
    }
    const kbps = Math.max(0, Math.round(((stats.bytes - this.#last.bytes) * 8) / passed / 1000));
    const fps = Math.max(0, Math.round((stats.frames - this.#last.frames) / passed));
    this.#last = { at: now, bytes: stats.bytes, frames: stats.frames };
    const rows = {
      form: t(`form_${stats.form}`, 'fMP4'),
      codecs: stats.type.match(/"(.*)"/)?.[1] ?? '–',
      picture: stats.width ? `${stats.width} × ${stats.height}` : '–',
      frame_rate: t('fps', fps),
      bit_rate: t('kbps', kbps),
      frames_shown: `${stats.frames - stats.dropped}`,
      frames_dropped: `${stats.dropped}`,
      buffer: t('seconds_of', stats.ahead.toFixed(2), stats.wanted.toFixed(2)),
      speed: `${stats.rate}`,
      stalls: `${stats.stalls}`,
      skips: `${stats.skips}`,
      connections_made: `${stats.connections}`,
    };
    this.facts.replaceChildren(...Object.entries(rows).map(([key, value]) => (
      el('div', {}, el('dt', {}, t(key)), el('dd', { 'data-fact': key }, value)))));
  }
}
