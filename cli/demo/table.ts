/**
 * Tables for people: columns as wide as their longest cell.
 */

export interface Table {
  head: readonly string[];
  rows: readonly (readonly string[])[];
}

/** Formats a table, ending in a newline; `emphasize` styles the head. */
export function formatTable(table: Table, emphasize: (text: string) => string): string {
  const widths = table.head.map((title, column) =>
    Math.max(title.length, ...table.rows.map((row) => row[column]?.length ?? 0)),
  );
  const format = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return `${[emphasize(format(table.head)), ...table.rows.map(format)].join('\n')}\n`;
}
