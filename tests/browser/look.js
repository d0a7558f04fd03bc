// How a page looks, for tests: each function returns what is wrong, in words.

const hidden = (element) =>
  !element.checkVisibility({ opacityProperty: true, visibilityProperty: true });

const named = (element) => {
  const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 40);
  return `${element.tagName.toLowerCase()}.${element.getAttribute("class") || ""} “${text}”`;
};

// Elements beside which a reader can scroll: what is out of sight in them can be reached.
const scrollers = () =>
  [...document.querySelectorAll("*")].filter((element) =>
    ["auto", "scroll"].includes(getComputedStyle(element).overflowX)
  );

// Pieces of text as they stand: their element, and a box for each line.
const pieces = () => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || hidden(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    for (const box of range.getClientRects())
      if (box.width > 1 && box.height > 1 && box.right > 0) found.push({ element, box });
  }
  return found;
};

// What stands outside the window, or is cut by an element that cannot be scrolled; on paper none can.
function cut(onPaper) {
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const wrong = wide > 0 ? [`the page is ${wide} px wider than the window`] : [];
  const can = onPaper ? [] : scrollers();
  for (const { element, box } of pieces()) {
    if (can.some((one) => one.contains(element))) continue;
    if (box.right > innerWidth + 1 || box.left < -1) wrong.push(`outside: ${named(element)}`);
  }
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    const clips = ["hidden", "clip"].includes(style.overflowX) && !(element instanceof SVGElement);
    if (clips && !hidden(element) && element.scrollWidth > element.clientWidth + 1)
      wrong.push(`cut: ${named(element)}`);
  }
  for (const svg of document.querySelectorAll("svg")) {
    if (hidden(svg)) continue;
    const whole = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBoundingClientRect();
      if (box.left < whole.left - 1 || box.right > whole.right + 1)
        wrong.push(`outside its chart: ${named(text)}`);
    }
  }
  return wrong;
}

// Texts that lie on each other: boxes of lines without the room above and below their letters.
function overlapping() {
  const boxes = pieces()
    .filter(({ element }) => getComputedStyle(element).position !== "sticky")
    .map(({ element, box }) => ({
      element,
      left: box.left + 1,
      right: box.right - 1,
      top: box.top + 0.25 * box.height,
      bottom: box.bottom - 0.25 * box.height,
    }))
    .sort((a, b) => a.top - b.top);
  const wrong = [];
  boxes.forEach((one, index) => {
    for (const other of boxes.slice(index + 1)) {
      if (other.top >= one.bottom) break;
      if (other.left < one.right && one.left < other.right && one.element !== other.element)
        wrong.push(`${named(one.element)} on ${named(other.element)}`);
    }
  });
  return wrong;
}

// Contrast by WCAG 2.2 (relative luminance): texts in charts, which axe leaves out.
const channels = (colour) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};

const luminance = (colour) =>
  channels(colour)
    .slice(0, 3)
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);

function faintInCharts(least) {
  const wrong = [];
  for (const text of document.querySelectorAll("svg text")) {
    let behind = text.closest("svg");
    while (behind.parentElement && !channels(getComputedStyle(behind).backgroundColor)[3])
      behind = behind.parentElement;
    const pair = [getComputedStyle(text).fill, getComputedStyle(behind).backgroundColor];
    const [dark, light] = pair.map(luminance).sort((a, b) => a - b);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < least) wrong.push(`${ratio.toFixed(1)}: ${named(text)}`);
  }
  return wrong;
}
