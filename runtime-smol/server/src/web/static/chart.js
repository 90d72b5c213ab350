// A small chart of a value over time, as SVG.

import { el, put, svg } from './elements.js';
import { rate } from './numbers.js';
import { t } from './words.js';

const [WIDTH, HEIGHT] = [300, 60];

/** Bit rates of a stream, from the counter of its bytes. */
export class History {
  #last = null;
  #span;
  samples = [];

  /** @param span milliseconds that are kept */
  constructor(span = 300_000) {
    this.#span = span;
  }

  /** What the counter was at a time in milliseconds. */
  add(time, bytes) {
    const last = this.#last;
    this.#last = { time, bytes };
    if (last === null || time <= last.time) {
      return;
    }
    // A counter that fell is that of a new stream of the name.
    const kbps = Math.max(0, bytes - last.bytes) * 8 / (time - last.time);
    this.samples.push({ time, kbps });
    while (this.samples[0].time < time - this.#span) {
      this.samples.shift();
    }
  }

  get newest() {
    return this.samples.at(-1)?.kbps ?? null;
  }
}

/** The chart of a history. A small one has no labels. */
export class Chart {
  #line = svg('path', { class: 'chart-line', fill: 'none' });
  #area = svg('path', { class: 'chart-area' });
  #most = el('span', { class: 'chart-most' });
  #picture;

  constructor(isSmall) {
    const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' };
    this.#picture = svg('svg', box, this.#area, this.#line);
    const labels = isSmall ? null : this.#most;
    this.node = el('div', { class: isSmall ? 'chart chart-small' : 'chart' }, this.#picture, labels);
  }

  show({ samples, newest }, span = 300_000) {
    this.#picture.setAttribute('aria-label', t('bit_rate_of', newest === null ? '–' : rate(newest)));
    if (samples.length < 2) {
      return;
    }
    const end = samples.at(-1).time;
    const recent = samples.filter(({ time }) => time >= end - span);
    // A history that is still short fills at least a fifth of the width.
    const shown = Math.max(end - recent[0].time, span / 5);
    const most = Math.max(...recent.map(({ kbps }) => kbps), 1) * 1.1;
    const points = recent.map(({ time, kbps }) => {
      const x = WIDTH - ((end - time) / shown) * WIDTH;
      return `${x.toFixed(1)} ${(HEIGHT - (kbps / most) * HEIGHT).toFixed(1)}`;
    });
    const first = points[0].split(' ')[0];
    this.#line.setAttribute('d', `M${points.join('L')}`);
    this.#area.setAttribute('d', `M${first} ${HEIGHT}L${points.join('L')}L${WIDTH} ${HEIGHT}Z`);
    put(this.#most, rate(most / 1.1));
  }
}
