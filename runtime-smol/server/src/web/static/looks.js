// Language and colours: what the browser says, until a person says something else.

import { currentLanguage, speak } from './words.js';

const THEME = 'anabranch.theme';

/** Sets up both choices. `changed` shows the page again in another language. */
export function offerLooks(changed) {
  const language = document.getElementById('language');
  const theme = document.getElementById('theme');
  language.value = currentLanguage();
  language.addEventListener('change', () => {
    speak(language.value);
    changed();
  });
  theme.value = localStorage.getItem(THEME) ?? '';
  theme.addEventListener('change', () => {
    localStorage.setItem(THEME, theme.value);
    colour();
  });
}

export function colour() {
  document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? '';
}

colour();
