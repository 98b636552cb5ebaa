// The live status page: asks the node for /stats.json once a second and draws. No library, no build step: it must work on a node
// that has no way out to the internet. The five minutes of history come from the node, so a page just opened shows the past.

const PERIOD_MS = 1000;
const TIMEOUT_MS = 3000;
const SVG = 'http://www.w3.org/2000/svg';

const count = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });

const fields = new Map([...document.querySelectorAll('[data-text]')].map((node) => [node.dataset.text, node]));
const show = (name, text) => {
  const node = fields.get(name);
  if (node && node.textContent !== text) node.textContent = text;
};

function bytes(value) {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let rest = value;
  let unit = 0;
  while (rest >= 1024 && unit < names.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${rest.toFixed(unit === 0 || rest >= 100 ? 0 : 1)} ${names[unit]}`;
}

function duration(ms) {
  if (ms === 0) return '–';
  if (ms < 0.1) return `${(ms * 1000).toFixed(0)} µs`;
  if (ms < 10) return `${ms.toFixed(2)} ms`;
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function since(seconds) {
  const units = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'min'],
  ];
  for (const [size, name] of units) if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
  return `${Math.floor(seconds)} s`;
}

const percent = (ratio) => (ratio === null ? '–' : `${(ratio * 100).toFixed(ratio === 1 ? 0 : 1)} %`);

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Path data of a line over `values` (null = a gap); the newest value stands at the right edge of `capacity` places. */
function lineOf(values, capacity, width, height, top, bottom) {
  const step = width / (capacity - 1);
  const offset = width - (values.length - 1) * step;
  let path = '';
  let pen = false;
  values.forEach((value, i) => {
    if (value === null) {
      pen = false;
      return;
    }
    const x = offset + i * step;
    const y = bottom === top ? height : height - ((value - bottom) / (top - bottom)) * height;
    path += `${pen ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = true;
  });
  return path;
}

function drawSpark(svg, values, top) {
  const recent = values.slice(-120);
  const places = Math.max(30, recent.length); // a node just started fills the width too
  const highest = top ?? Math.max(1e-9, ...recent.map((value) => value ?? 0)) * 1.1;
  svg.setAttribute('viewBox', '0 -2 300 44');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.replaceChildren(element('path', { class: 'line', d: lineOf(recent, places, 300, 40, highest, 0) }));
}

/** A round number not below `value`: 1, 2 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= value) ?? value;
}

function drawChart(svg, values) {
  const width = svg.clientWidth || 600;
  const height = svg.clientHeight || 180;
  const plot = height - 18;
  const top = Math.max(10, roundUp(Math.max(0, ...values.map((value) => value ?? 0))));
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const group = element('g', { transform: 'translate(0 12)' });
  for (const part of [0, 0.5, 1]) {
    const y = plot - part * plot + 0.5;
    group.append(element('line', { class: 'grid', x1: 0, x2: width, y1: y, y2: y }));
    if (part > 0) group.append(element('text', { class: 'scale', x: 2, y: y - 3 }, compact.format(top * part)));
  }
  const places = Math.max(60, values.length);
  const line = lineOf(values, places, width, plot, top, 0);
  if (line !== '') {
    const step = width / (places - 1);
    const first = (width - (values.length - 1) * step).toFixed(1);
    group.append(element('path', { class: 'area', d: `${line}L${width} ${plot}L${first} ${plot}Z` }));
    group.append(element('path', { class: 'line', d: line }));
  }
  svg.replaceChildren(group);
}

function draw({ node, now, sinceStart, history }) {
  document.title = `${compact.format(now.operationsPerSecond)}/s · Breakwater`;
  show('about', `${node.version} · ${node.runtime} · up ${since(node.uptimeSeconds)}`);
  show('hitRatio', percent(now.hitRatio));
  show('hitRatioNote', `${percent(sinceStart.hitRatio)} since the start`);
  show('operations', compact.format(now.operationsPerSecond));
  show('operationsNote', `${compact.format(sinceStart.operations)} since the start`);
  show('p50', duration(now.p50Ms));
  show('latencyNote', `p99 ${duration(now.p99Ms)}, last 10 s`);
  show('memory', bytes(now.usedBytes));
  show('memoryNote', `of ${bytes(now.memoryBytes)}, ${node.eviction}`);
  const share = now.usedBytes / now.memoryBytes;
  document.getElementById('memory-bar').style.transform = `scaleX(${Math.min(1, share)})`;
  for (const name of [
    'hits',
    'misses',
    'evictions',
    'expirations',
    'invalidations',
    'leasesGranted',
    'leasesRefused',
    'errorReplies',
  ]) {
    show(name, count.format(sinceStart[name]));
  }
  show('entries', count.format(now.entries));
  show('connections', count.format(now.connections));
  show('loopLag', `${now.loopLagP99Ms.toFixed(1)} ms`);
  show('rss', bytes(now.rssBytes));
  for (const svg of document.querySelectorAll('[data-spark]')) {
    drawSpark(svg, history[svg.dataset.spark], svg.dataset.spark === 'hitRatio' ? 1.02 : undefined);
  }
  show('chartNote', `last ${since(Math.max(1, history.operations.length))}`);
  drawChart(document.getElementById('chart'), history.operations);
}

function setState(state, text) {
  const node = document.getElementById('state');
  if (node.dataset.state !== state) node.dataset.state = state;
  const label = document.getElementById('state-text');
  if (label.textContent !== text) label.textContent = text;
  document.body.toggleAttribute('data-lost', state === 'lost');
}

let lostSince = null;

async function refresh() {
  try {
    const response = await fetch('/stats.json', { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    draw(await response.json());
    lostSince = null;
    setState('live', 'live');
  } catch {
    lostSince ??= Date.now();
    setState('lost', `connection lost ${since((Date.now() - lostSince) / 1000)} ago`);
  }
  setTimeout(refresh, document.hidden ? 5 * PERIOD_MS : PERIOD_MS);
}

refresh();
