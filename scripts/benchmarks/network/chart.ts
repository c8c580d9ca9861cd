/** Bars for each row, of the contenders at their better MTU; a row's longest bar has the full width. */

import type {ContenderName} from './contenders.ts';
import {mediansOf, type RowResult} from './results.ts';

interface Series {
  readonly label: string;
  readonly color: string;
  /** Of several, the best. */
  readonly names: readonly ContenderName[];
}

const series: readonly Series[] = [
  {label: 'loopback', color: '#b8bcc4', names: ['loopback']},
  {label: "the kernel's TCP", color: '#b8bcc4', names: ['kernel TCP']},
  {label: 'mirrord', color: '#1f6feb', names: ['mirrord']},
  {label: 'mirrord, local', color: '#79b0ff', names: ['mirrord, local']},
  {
    label: 'slirp4netns',
    color: '#e0903c',
    names: ['slirp4netns, MTU 1500', 'slirp4netns, MTU 65520'],
  },
  {label: 'pasta', color: '#4aa564', names: ['pasta, MTU 1500', 'pasta, MTU 65520']},
];

/** In which less is better. */
const lessIsBetter = new Set(['rtt', 'loaded', 'idle', 'short']);

/** Measures, px. */
const [width, barLeft, barRight, barHeight, titleHeight, gap] = [760, 130, 640, 14, 22, 12];

interface Bar {
  label: string;
  color: string;
  value: number;
}

function bars(row: RowResult): Bar[] {
  const medians = mediansOf(row);
  const pick = lessIsBetter.has(row.group) ? Math.min : Math.max;
  return series.flatMap(({label, color, names}) => {
    const values = names.flatMap((name) => medians.get(name) ?? []);
    return values.length === 0 ? [] : [{label, color, value: pick(...values)}];
  });
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function text(x: number, y: number, words: string, attributes = ''): string {
  return `<text x="${x}" y="${y}"${attributes}>${escapeText(words)}</text>`;
}

/** The lines of a row that begins at `top`, and where it ends. */
function drawRow(row: RowResult, top: number): {lines: string[]; bottom: number} {
  const better = lessIsBetter.has(row.group) ? ', less is better' : '';
  const lines = [text(8, top + 14, `${row.title}, ${row.unit}${better}`, ' font-weight="bold"')];
  const all = bars(row);
  const most = Math.max(...all.map(({value}) => value), Number.MIN_VALUE);
  let y = top + titleHeight;
  for (const {label, color, value} of all) {
    const length = (Math.max(value, 0) / most) * (barRight - barLeft);
    const end = barLeft + length;
    lines.push(
      text(barLeft - 8, y + 11, label, ' text-anchor="end"'),
      `<rect x="${barLeft}" y="${y + 1}" width="${length.toFixed(1)}" height="${barHeight - 2}" fill="${color}"/>`,
      text(Math.round(end) + 6, y + 11, value.toFixed(row.digits)),
    );
    y += barHeight;
  }
  return {lines, bottom: y + gap};
}

/** The chart as an SVG document. */
export function chart(rows: readonly RowResult[]): string {
  const lines: string[] = [];
  let y = 8;
  for (const row of rows) {
    const drawn = drawRow(row, y);
    lines.push(...drawn.lines);
    y = drawn.bottom;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${y}" fill="#ffffff"/>`,
    ...lines,
    '</svg>',
    '',
  ].join('\n');
}
