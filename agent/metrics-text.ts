/** Prometheus' text format, 0.0.4, as far as counters and gauges need it. */

/** The media type of the text. */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Labels in braces, or none, and the value. */
export type Samples = readonly (readonly [labels: string, value: number])[];

/** A value that goes up and down. */
export function gauge(name: string, help: string, samples: Samples | number): string {
  return family('gauge', {name, help, samples});
}

/** A value that only grows; its name ends with `_total`. */
export function counter(name: string, help: string, samples: Samples | number): string {
  return family('counter', {name, help, samples});
}

function family(
  type: string,
  {name, help, samples}: {name: string; help: string; samples: Samples | number},
): string {
  const all: Samples = typeof samples === 'number' ? [['', samples]] : samples;
  const lines = all.map(([labels, value]) => `${name}${labels} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}
