/**
 * `mirrord config`: what there is to know about the configuration.
 */

import {Command} from 'commander';
import {jsonSchemaText} from '../config/json-schema.ts';

/** The command, for `main.ts`. */
export function configCommand(): Command {
  const schema = new Command('schema')
    .description('print the JSON Schema of configuration files, for editors')
    .helpOption('-h, --help', 'show this help')
    .action(() => {
      process.stdout.write(jsonSchemaText());
    });
  return new Command('config')
    .description('about configuration files')
    .helpOption('-h, --help', 'show this help')
    .addCommand(schema);
}
