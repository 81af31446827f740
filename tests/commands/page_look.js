// What is wrong with the server's page as it is shown now: a list of sentences.
(() => {
  const faults = [];
  const channel = (part) => {
    part /= 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  };
  const numbers = (colour) => colour.match(/\d+(\.\d+)?/g).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = numbers(colour);
    return 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
  };
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const isShown = (element) => element.checkVisibility() && !element.closest('.unseen');

  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  if (luminance(behind(document.body)) > 0.5 === isDark) faults.push('the paper has the other colour');
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) faults.push(`the page is ${width} pixels wide`);
  let texts = 0;
  for (const element of document.body.querySelectorAll('*')) {
    if (!isShown(element)) continue;
    const place = element.getBoundingClientRect();
    const name = `${element.localName} "${element.textContent.trim().slice(0, 30)}"`;
    if (place.width && (place.left < -0.5 || place.right > innerWidth + 0.5)) faults.push(`${name} leaves the page`);
    const style = getComputedStyle(element);
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const isField = ['input', 'textarea'].includes(element.localName);
    if (own || isField) {
      texts += 1;
      const paper = behind(element);
      if (contrast(style.color, paper) < 4.5) faults.push(`${name} is pale`);
      if (parseFloat(style.fontSize) < 13) faults.push(`${name} is ${style.fontSize} high`);
      if (isField && contrast(getComputedStyle(element, '::placeholder').color, paper) < 4.5) {
        faults.push(`the placeholder of ${element.id} is pale`);
      }
    }
    if (isField || element.localName === 'button') {
      if (place.height < 40) faults.push(`${name} ${element.id} is ${place.height} pixels high`);
      const isFilled = contrast(style.backgroundColor, behind(element.parentElement)) >= 3;
      if (!isFilled && contrast(style.borderTopColor, behind(element.parentElement)) < 3) {
        faults.push(`${name} ${element.id} has no edge`);
      }
      // Phones enlarge pages around fields with smaller letters.
      if (isField && parseFloat(style.fontSize) < 16) faults.push(`${element.id} has small letters`);
    }
  }
  return { texts, faults };
})()
