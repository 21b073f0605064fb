// node clients.mjs URL: speaks to the endpoint by npm's graphql-ws and graphql-sse; prints what each check found, as JSON.
import { createClient as overWebsocket } from 'graphql-ws';
import { createClient as overEvents } from 'graphql-sse';

const url = process.argv[2];
const authorization = 'Bearer t';
const COUNT = 'subscription { count(until: 4) }';

const websocket = (options = {}) =>
  overWebsocket({
    url: url.replace('http', 'ws'),
    connectionParams: { authorization },
    retryAttempts: 0,
    ...options,
  });
const events = (options = {}) => overEvents({ url, headers: { authorization }, retryAttempts: 0, ...options });

async function all(client, query, most = 100) {
  const found = [];
  for await (const answer of client.iterate({ query })) {
    found.push(answer.errors ? answer.errors.map((error) => error.extensions.code) : answer.data);
    if (found.length === most) break;
  }
  return found;
}

// What ended an operation: a close event, GraphQL errors, or a response.
async function ending(client, query = COUNT) {
  try {
    return await all(client, query);
  } catch (error) {
    if (Array.isArray(error)) return error.map((one) => one.extensions.code);
    return error.code ?? error.response?.status ?? String(error);
  }
}

async function renewed() {
  const tokens = ['', authorization];
  const connectionParams = () => ({ authorization: tokens.shift() });
  return all(websocket({ connectionParams, retryAttempts: 1, retryWait: async () => {} }), COUNT);
}

const both = { ws: websocket, sse: events };
const found = {};
for (const [name, client] of Object.entries(both)) {
  found[`${name} subscription`] = await all(client(), COUNT);
  found[`${name} query`] = await all(client(), '{ finished(lines: 2) { name } }');
  found[`${name} mutation`] = await all(client(), 'mutation { rename(name: "x") { name } }');
  found[`${name} field error`] = await all(client(), '{ fault(kind: "forbidden") }');
  found[`${name} invalid`] = await ending(client(), 'subscription { nothing }');
  found[`${name} refused later`] = await ending(client(), 'subscription { refused(after: 0.05) }');
  found[`${name} early end`] = await all(client(), 'subscription { count(until: 1000, pause: 0.01) }', 2);
  const one = client();
  found[`${name} at once`] = await Promise.all([1, 2, 3].map(() => all(one, COUNT)));
}
found['ws no token'] = await ending(websocket({ connectionParams: {} }));
found['sse no token'] = await ending(events({ headers: {} }));
found['ws new token'] = await renewed();
console.log(JSON.stringify(found));
process.exit(0);
