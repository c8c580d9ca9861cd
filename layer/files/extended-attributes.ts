/**
 * What the kernel asks about extended attributes. Those of others than the program (`security.`, `system.`) there are none of.
 */

import os from 'node:os';
import {FileRequest} from '../../tunnel/files.ts';
import {FileError} from './file-client.ts';
import type {RequestOf} from './fuse/request.ts';
import type {Nodes} from './nodes.ts';

const {ENODATA, EOPNOTSUPP} = os.constants.errno;

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

export class ExtendedAttributes {
  readonly #nodes: Nodes;

  constructor(nodes: Nodes) {
    this.#nodes = nodes;
  }

  async getxattr(request: RequestOf<'getxattr'>): Promise<Uint8Array> {
    // Asked for at every turn (ls, exec), and nothing that the sandbox could make use of.
    const attribute = latin1(request.attribute);
    if (attribute.startsWith('security.')) throw new FileError(ENODATA);
    if (attribute.startsWith('system.')) throw new FileError(EOPNOTSUPP);
    const node = this.#nodes.get(request.node);
    if (node.source === 'scaffold') throw new FileError(ENODATA);
    const fields = await this.#nodes.askByPath(
      node,
      'read',
      new FileRequest('getxattr'),
      request.size,
      [request.attribute],
    );
    return request.size === 0 ? withPadding(fields) : fields;
  }

  async listxattr(request: RequestOf<'listxattr'>): Promise<Uint8Array> {
    const node = this.#nodes.get(request.node);
    if (node.source === 'scaffold') return new Uint8Array(request.size === 0 ? 8 : 0);
    const fields = await this.#nodes.askByPath(
      node,
      'read',
      new FileRequest('listxattr'),
      request.size,
    );
    return request.size === 0 ? withPadding(fields) : fields;
  }

  async setxattr(request: RequestOf<'setxattr'>): Promise<Uint8Array> {
    if (latin1(request.attribute).startsWith('system.')) throw new FileError(EOPNOTSUPP);
    const ask = new FileRequest('setxattr');
    const {attribute, value} = request;
    return await this.#nodes.askByPath(
      this.#nodes.get(request.node),
      'write',
      ask,
      request.flags,
      [attribute],
      value,
    );
  }

  async removexattr(request: RequestOf<'removexattr'>): Promise<Uint8Array> {
    const ask = new FileRequest('removexattr');
    return await this.#nodes.askByPath(this.#nodes.get(request.node), 'write', ask, 0, [
      request.attribute,
    ]);
  }
}

/** A uint32 as fuse_getxattr_out has it. */
function withPadding(fields: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8);
  bytes.set(fields.subarray(0, 4));
  return bytes;
}
