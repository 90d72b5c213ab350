// A page with nothing but the player. Its address, /watch/APP/STREAM, names the stream; parameters such as a token go
// with each request for it. `form` chooses how it is played.

import './looks.js';
import { decoded } from './address.js';
import { el } from './elements.js';
import { mediaAddress } from './player.js';
import { Screen } from './screen.js';
import { t } from './words.js';

const path = location.pathname.replace(/^\/watch\//, '').split('/').map(decoded).join('/');
const parameters = new URLSearchParams(location.search);
const form = parameters.get('form');
parameters.delete('form');
const place = document.getElementById('view');
const [scheme, port] = document.documentElement.dataset.media.split(':');
const base = port ? `${scheme}://${location.hostname}:${port}/` : undefined;

if (/^[^/]+\/.+/.test(path)) {
  document.title = t('watch_title', path);
  // A question mark in a name is part of the name here.
  const address = (suffix) => mediaAddress(path.replaceAll('?', '%3F'), suffix, base, parameters);
  const screen = new Screen(address, form ?? undefined);
  place.append(screen.node);
  screen.start();
} else {
  place.append(el('p', { class: 'empty' }, t('no_name')));
}
