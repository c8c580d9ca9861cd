/**
 * `feature.network.incoming.http_filter`: which requests come to the program.
 */

import {array, choice, key, list, named, object, port, string, values} from './types.ts';

const body = {
  body: key(values('json'), 'How the body is read.', {required: true}),
  query: key(string(), 'JSONPath of the values that are looked at.', {required: true}),
  matches: key(string(), 'Regular expression that one of the values must fit.', {required: true}),
};

const inner = named(
  'HttpFilterPart',
  choice(
    object({
      header: key(string(), 'Regular expression on "Name: value".', {required: true}),
    }),
    object({
      path: key(string(), 'Regular expression on the path with its query.', {required: true}),
    }),
    object({method: key(string(), 'HTTP method, in any case of letters.', {required: true})}),
    object(body),
    object({query: key(string(), 'jq program over the headers.', {required: true})}),
  ),
);

/** The `http_filter` block. */
export const httpFilter = object(
  {
    header_filter: key(string(), 'Requests with a header that fits, as "Name: value".', {
      env: 'MIRRORD_HTTP_HEADER_FILTER',
    }),
    path_filter: key(string(), 'Requests whose path fits.', {env: 'MIRRORD_HTTP_PATH_FILTER'}),
    method_filter: key(string(), 'Requests of this method.', {env: 'MIRRORD_HTTP_METHOD_FILTER'}),
    body_filter: key(object(body), 'Requests whose JSON body fits.'),
    header_filter_jq: key(string(), 'Requests on whose headers a jq program says true.', {
      env: 'MIRRORD_HTTP_HEADER_FILTER_JQ',
    }),
    all_of: key(array(inner), 'Requests that every part fits.'),
    any_of: key(array(inner), 'Requests that some part fits.'),
    ports: key(list(port()), 'Ports whose requests are filtered; by default all of them.', {
      env: 'MIRRORD_HTTP_FILTER_PORTS',
    }),
  },
  {
    accepts: [{kind: 'boolean'}],
    expand: (value) => (typeof value === 'boolean' ? {} : undefined),
  },
);
