/** Whose traffic stays on this machine's network, from the configuration. */

import type {SkipOptions} from '../layer/processes/tools.ts';
import type {ResolvedConfig} from './config/schema/root.ts';

/** `skip_processes` and its relatives as the layer takes them. */
export function skipOptions(config: ResolvedConfig): SkipOptions {
  return {
    buildTools: config.skip_build_tools,
    names: [...(config.skip_extra_build_tools ?? []), ...(config.skip_processes ?? [])],
  };
}
