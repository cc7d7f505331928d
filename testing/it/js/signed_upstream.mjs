// An upstream that believes nobody but the gateway: it verifies the token of each request with a library of its own (jose) by the keys that the
// gateway publishes, and answers with what the token says (`claims`), or 401 with why it does not believe it.
//
// Arguments: the file to write the port to, the folder of the packages. The file `gateway.json` beside it, which is read with each request, says where the
// keys are (`keys`), who signs (`issuer`), and by which authority (`ca`, PEM) if by TLS. `/asked` tells how often keys were fetched. Ends when its standard
// input does: so it cannot outlive the tests.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { get } from 'node:https';
import { pathToFileURL } from 'node:url';

const [portFile, modules] = process.argv.slice(2);
const { createRemoteJWKSet, customFetch, jwtVerify } = await import(pathToFileURL(`${modules}/jose/dist/webapi/index.js`).href);

let asked = 0;
const local = (_, options, done) => (options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4));
const overTls = (ca) => (url) =>
  new Promise((resolve, reject) => {
    get(url, { ca, lookup: local }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part)).on('end', () => resolve(new Response(Buffer.concat(parts), { status: answer.statusCode })));
    }).on('error', reject);
  });

let known = '';
let settings;
let keys;
const server = createServer(async (request, response) => {
  const say = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (request.url === '/asked') return say(200, asked);
  const written = readFileSync('gateway.json', 'utf8');
  if (written !== known) {
    known = written;
    settings = JSON.parse(written);
    const fetched = settings.ca ? overTls(settings.ca) : fetch;
    const counted = (...all) => ((asked += 1), fetched(...all));
    keys = createRemoteJWKSet(new URL(settings.keys), { cooldownDuration: 0, [customFetch]: counted });
  }
  const shown = request.headers.authorization;
  if (!shown) return say(200, { claims: null });
  try {
    const rules = { issuer: settings.issuer, audience: 'https://orders.internal', typ: 'at+jwt', algorithms: ['EdDSA', 'ES256'] };
    const { payload, protectedHeader } = await jwtVerify(shown.replace(/^Bearer /, ''), keys, rules);
    return say(200, { claims: payload, header: protectedHeader });
  } catch (error) {
    return say(401, { code: error.code, message: error.message });
  }
});
server.listen(0, '127.0.0.1', () => {
  writeFileSync(`${portFile}.new`, String(server.address().port));
  renameSync(`${portFile}.new`, portFile);
});
process.stdin.on('end', () => process.exit(0)).resume();
