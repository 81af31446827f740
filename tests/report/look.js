// What is wrong with the page as it is shown now: a list of sentences.
(() => {
  const faults = [];
  const channel = (part) => {
    part /= 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  };
  const luminance = (colour) => {
    const [red, green, blue] = colour.match(/\d+(\.\d+)?/g).map(Number);
    return 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
  };
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const paper = getComputedStyle(document.body).backgroundColor;
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  if (luminance(paper) > 0.5 === isDark) faults.push(`the paper is ${paper}`);
  if (document.documentElement.scrollWidth > innerWidth) {
    faults.push(`the page is ${document.documentElement.scrollWidth} pixels wide`);
  }

  let pictures = 0;
  for (const picture of document.querySelectorAll('figure > svg')) {
    const frame = picture.getBoundingClientRect();
    if (frame.width === 0) continue;
    pictures += 1;
    const name = picture.getAttribute('aria-label') || '';
    if (name.length < 20 || picture.getAttribute('role') !== 'img') {
      faults.push(`a picture says nothing to those who do not see it: ${name}`);
    }
    const texts = [...picture.querySelectorAll('text')].map((text) => {
      const style = getComputedStyle(text);
      if (contrast(style.fill, paper) < 4.5) faults.push(`${text.textContent.trim()} is pale`);
      const place = text.getBoundingClientRect();
      const scale = frame.width / picture.viewBox.baseVal.width;
      const pixels = parseFloat(style.fontSize) * scale;
      if (pixels < 11) faults.push(`${text.textContent.trim()} is ${pixels} pixels high`);
      return { words: text.textContent.trim(), place };
    });
    if (texts.length < 3) faults.push(`only ${texts.length} texts in: ${name}`);
    texts.forEach(({ words, place }, i) => {
      if (place.left < frame.left - 0.5 || place.right > frame.right + 0.5 ||
          place.top < frame.top - 0.5 || place.bottom > frame.bottom + 0.5) {
        faults.push(`"${words}" leaves its picture: ${name}`);
      }
      for (const other of texts.slice(0, i)) {
        const width = Math.min(place.right, other.place.right) - Math.max(place.left, other.place.left);
        const height = Math.min(place.bottom, other.place.bottom) - Math.max(place.top, other.place.top);
        if (width > 0 && height > 0) faults.push(`"${words}" overlaps "${other.words}": ${name}`);
      }
    });
    if (isDark) {
      for (const shape of picture.querySelectorAll('[fill^="#"], [stroke^="#"]')) {
        for (const part of ['fill', 'stroke']) {
          const drawn = shape.getAttribute(part) || '';
          const light = drawn.startsWith('#') &&
            `rgb(${[1, 3, 5].map((at) => parseInt(drawn.slice(at, at + 2), 16)).join(', ')})`;
          if (light && getComputedStyle(shape)[part] === light) faults.push(`${drawn} stays light`);
        }
      }
    }
  }
  for (const head of document.querySelectorAll('th')) {
    if (!head.scope) faults.push(`the head ${head.textContent} of a table belongs to nothing`);
  }
  return { pictures, faults: [...new Set(faults)] };
})()
