// node audit.mjs URL: runs the audits of npm's graphql-http and prints one JSON line for each, {id, name, status, reason}.
import { auditServer } from 'graphql-http';

const fetchFn = (url, init = {}) =>
  fetch(url, { ...init, headers: { ...init.headers, authorization: 'Bearer audit' } });

for (const { id, name, status, reason } of await auditServer({ url: process.argv[2], fetchFn })) {
  console.log(JSON.stringify({ id, name, status, reason: reason && String(reason) }));
}
