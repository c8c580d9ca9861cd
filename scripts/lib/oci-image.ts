/**
 * Makes a container image of files of this machine, without a registry and without Docker.
 *
 * The result is one tar file that holds an OCI image layout (OCI image-spec, image-layout.md): what `ctr
 * images import` reads, and others. Blobs are named by their SHA-256: the layers, each a
 * tar of its own; the config, which names the layers and says what to run; the manifest, which names the
 * config and the layers; and `index.json`, which names the manifest. The same files give the same bytes.
 */

import {createHash} from 'node:crypto';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import {dirname, join} from 'node:path';
import {TarWriter} from './tar.ts';

/** Something in a layer, by its absolute path in the image. */
export type LayerEntry = {path: string} & (
  | {
      /** A file or a directory of this machine with all that is in it; links are kept in it, but followed here. */
      source: string;
    }
  | {content: string | Uint8Array; mode?: number}
  | {directory: true; mode?: number}
  | {link: string}
);

/** What a container of the image does, unless told otherwise (OCI image-spec, config.md). */
export interface ImageConfig {
  Entrypoint?: readonly string[];
  Cmd?: readonly string[];
  Env?: readonly string[];
  WorkingDir?: string;
  User?: string;
  ExposedPorts?: Readonly<Record<string, object>>;
  Labels?: Readonly<Record<string, string>>;
}

export interface Image {
  /** With registry and tag, as `registry.example/name:1`. */
  name: string;
  /** From the lowest; a path of an upper one hides that of a lower one. */
  layers: readonly (readonly LayerEntry[])[];
  config?: ImageConfig;
  /** In Go's words; this machine's by default. */
  architecture?: 'amd64' | 'arm64';
}

interface Blob {
  digest: string;
  size: number;
}

type Node =
  | {kind: 'directory'; mode: number}
  | {kind: 'link'; target: string}
  | {kind: 'file'; mode: number; size: number; chunks: () => Iterable<Uint8Array>};

const mediaType = 'application/vnd.oci.image';
const chunkLength = 1024 * 1024;
const systemPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function* chunksOf(file: string): Generator<Uint8Array> {
  const fd = openSync(file, 'r');
  try {
    const chunk = new Uint8Array(chunkLength);
    for (;;) {
      const length = readSync(fd, chunk);
      if (length === 0) return;
      yield chunk.subarray(0, length);
    }
  } finally {
    closeSync(fd);
  }
}

/** The mode as anybody's checkout would have it, whatever the umask was. */
function modeOf(mode: number): number {
  return mode & 0o100 ? 0o755 : 0o644;
}

function addSource(nodes: Map<string, Node>, path: string, source: string): void {
  const status = statSync(source);
  if (!status.isDirectory()) {
    const chunks = (): Iterable<Uint8Array> => chunksOf(source);
    nodes.set(path, {kind: 'file', mode: modeOf(status.mode), size: status.size, chunks});
    return;
  }
  nodes.set(path, {kind: 'directory', mode: 0o755});
  for (const entry of readdirSync(source, {withFileTypes: true})) {
    const [inside, outside] = [join(path, entry.name), join(source, entry.name)];
    if (entry.isSymbolicLink()) nodes.set(inside, {kind: 'link', target: readlinkSync(outside)});
    else if (entry.isDirectory() || entry.isFile()) addSource(nodes, inside, outside);
  }
}

function addEntry(nodes: Map<string, Node>, entry: LayerEntry): void {
  const path = entry.path.replace(/^\/+/, '');
  if ('source' in entry) addSource(nodes, path, entry.source);
  else if ('link' in entry) nodes.set(path, {kind: 'link', target: entry.link});
  else if ('directory' in entry) nodes.set(path, {kind: 'directory', mode: entry.mode ?? 0o755});
  else {
    const bytes = Buffer.from(entry.content);
    const {mode = 0o644} = entry;
    nodes.set(path, {kind: 'file', mode, size: bytes.length, chunks: () => [bytes]});
  }
}

/** The layer's tree with all directories that its paths need, parents first. */
function treeOf(entries: readonly LayerEntry[]): [string, Node][] {
  const nodes = new Map<string, Node>();
  for (const entry of entries) addEntry(nodes, entry);
  for (const path of [...nodes.keys()]) {
    for (let parent = dirname(path); parent !== '.'; parent = dirname(parent)) {
      if (!nodes.has(parent)) nodes.set(parent, {kind: 'directory', mode: 0o755});
    }
  }
  nodes.delete(''); // the root is there anyway
  return [...nodes].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

function writeTar(file: string, write: (tar: TarWriter) => void): Blob {
  const hash = createHash('sha256');
  let size = 0;
  const fd = openSync(file, 'w');
  try {
    const tar = new TarWriter((chunk) => {
      hash.update(chunk);
      for (let done = 0; done < chunk.length; ) done += writeSync(fd, chunk, done);
      size += chunk.length;
    });
    write(tar);
    tar.end();
  } finally {
    closeSync(fd);
  }
  return {digest: `sha256:${hash.digest('hex')}`, size};
}

function writeLayer(entries: readonly LayerEntry[], file: string): Blob {
  return writeTar(file, (tar) => {
    for (const [path, node] of treeOf(entries)) {
      if (node.kind === 'directory') tar.directory(path, node.mode);
      else if (node.kind === 'link') tar.link(path, node.target);
      else tar.file(path, node.mode, node.size, node.chunks());
    }
  });
}

function jsonBlob(value: unknown): Blob & {bytes: Buffer} {
  const bytes = Buffer.from(JSON.stringify(value));
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  return {digest, size: bytes.length, bytes};
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}

/**
 * Writes the image to `file`, and returns the manifest's digest, by which a registry would know it. Throws
 * errors of the file system, and `RangeError` for a path that tar can't hold.
 */
export function writeImage(image: Image, file: string): string {
  const architecture = image.architecture ?? (process.arch === 'arm64' ? 'arm64' : 'amd64');
  const directory = mkdtempSync(`${file}.`);
  try {
    const layers = image.layers.map((entries, index) => {
      const path = join(directory, String(index));
      return {path, ...writeLayer(entries, path)};
    });
    const config = jsonBlob({
      architecture,
      os: 'linux',
      config: {Env: [systemPath], ...image.config},
      rootfs: {type: 'layers', diff_ids: layers.map(({digest}) => digest)},
    });
    const manifest = jsonBlob({
      schemaVersion: 2,
      mediaType: `${mediaType}.manifest.v1+json`,
      config: {
        mediaType: `${mediaType}.config.v1+json`,
        digest: config.digest,
        size: config.size,
      },
      layers: layers.map(({digest, size}) => ({
        mediaType: `${mediaType}.layer.v1.tar`,
        digest,
        size,
      })),
    });
    const index = jsonBlob({
      schemaVersion: 2,
      manifests: [
        {
          mediaType: `${mediaType}.manifest.v1+json`,
          digest: manifest.digest,
          size: manifest.size,
          platform: {architecture, os: 'linux'},
          annotations: {
            'io.containerd.image.name': image.name,
            'org.opencontainers.image.ref.name': image.name.slice(image.name.lastIndexOf(':') + 1),
          },
        },
      ],
    });
    writeTar(file, (tar) => {
      const add = (path: string, bytes: Buffer): void =>
        tar.file(path, 0o644, bytes.length, [bytes]);
      add('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
      add('index.json', index.bytes);
      for (const blob of [manifest, config]) add(blobPath(blob.digest), blob.bytes);
      const written = new Set<string>();
      for (const {digest, size, path} of layers) {
        if (!written.has(digest)) tar.file(blobPath(digest), 0o644, size, chunksOf(path));
        written.add(digest);
      }
    });
    return manifest.digest;
  } finally {
    rmSync(directory, {recursive: true, force: true});
  }
}
