/**
 * Lists in the form that `kubectl get` asks for: rows of cells, made by the API server (meta/v1 Table). A
 * pod's row is some 100 bytes, the pod itself is 5 to 20 KB.
 */

import type {KubeClient, ListPage, Selection} from '../client.ts';

/** Lists that know no Tables come as objects. */
const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';

interface TablePage extends ListPage {
  kind?: string;
  columnDefinitions?: {name: string}[];
  rows?: {cells: unknown[]}[];
  items?: {metadata: {name: string}}[];
}

/** A row, by the names of its columns in lower case; `name` is always there. */
export type Row = Readonly<Record<string, string>>;

/** All rows of a list. Throws KubeError. */
export async function listRows(
  client: KubeClient,
  path: string,
  selection: Selection,
  signal: AbortSignal,
): Promise<Row[]> {
  const all: Row[] = [];
  let columns: string[] = [];
  // Without their objects, which would be all of their metadata. Pages may be large, rows being small.
  const query = {...selection, includeObject: 'None', limit: 2_500};
  for await (const page of client.pages<TablePage>({path, query, accept, signal})) {
    const {kind, columnDefinitions = [], rows = [], items = []} = page;
    if (kind !== 'Table') all.push(...items.map(({metadata: {name}}) => ({name})));
    if (columnDefinitions.length > 0)
      columns = columnDefinitions.map(({name}) => name.toLowerCase());
    for (const {cells} of rows) {
      all.push(
        Object.fromEntries(columns.map((name, index) => [name, String(cells[index] ?? '')])),
      );
    }
  }
  return all;
}
