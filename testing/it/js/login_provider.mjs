// A certified OpenID provider on loopback at which people log in with a browser, for the tests.
//
// Arguments: the file to write the port to, the folder of the packages, a file with its private keys and the name of its algorithm, and a file
// with what the tests want of it: the origin of the application, the people and their groups, how long tokens live. It is read anew with each
// request. Whoever comes is asked for a name and nothing else. `/asked` tells how often each path was asked for. Ends when its standard input
// does: so it cannot outlive the tests.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { pathToFileURL } from 'node:url';

const [portFile, modules, keyFile, wishFile] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`).href);
const wishes = () => JSON.parse(readFileSync(wishFile, 'utf8'));

// Logout tokens, as they were told; the application's origin is the gateway's plain listener, whose port the tests write.
const told = [];
function tellGateway(url, { body }) {
  told.push(String(body));
  return new Promise((resolve, reject) => {
    const headers = { host: new URL(url).host, 'content-type': 'application/x-www-form-urlencoded' };
    const call = httpRequest({ host: '127.0.0.1', port: wishes().gateway, path: new URL(url).pathname, method: 'POST', headers }, (answer) => {
      answer.resume().on('end', () => resolve(new Response(null, { status: answer.statusCode })));
    });
    call.on('error', reject).end(String(body));
  });
}

function make(issuer, { keys, algorithm }) {
  const { origin, client } = wishes();
  // What a wish says to be null is left out.
  const only = (client) => Object.fromEntries(Object.entries(client).filter(([, value]) => value !== null));
  const own = `${origin}/.portcullis/login/staff`;
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [only({
      client_id: 'app',
      client_secret: 'only-for-tests',
      redirect_uris: [`${own}/callback`],
      response_types: ['code'],
      grant_types: ['authorization_code', 'refresh_token'],
      id_token_signed_response_alg: algorithm,
      ...client,
    })],
    fetch: tellGateway,
    cookies: { keys: ['only-for-tests'] },
    claims: { openid: ['sub', 'groups', 'sid'] },
    scopes: ['openid', 'offline_access', 'orders:read'],
    conformIdTokenClaims: false,
    ttl: {
      IdToken: () => wishes().id_token_ttl ?? 3600,
      AccessToken: () => 3600,
      Session: () => 3600,
      Grant: () => 3600,
      Interaction: () => 600,
    },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: wishes().people[id] ?? [] }) }),
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    loadExistingGrant: async (ctx) => {
      const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid offline_access orders:read');
      await grant.save();
      return grant;
    },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
    },
  });
  return provider;
}

const asked = {};
let known = '';
let provider;
let handle;

async function interact(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (details.prompt.name === 'consent') {
    const grant = new provider.Grant({ clientId: details.params.client_id, accountId: details.session.accountId });
    grant.addOIDCScope('openid offline_access orders:read');
    await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
    return;
  }
  if (request.method === 'POST') {
    let body = '';
    for await (const part of request) body += part;
    const login = new URLSearchParams(body).get('login');
    const result = login ? { login: { accountId: login } } : { error: 'access_denied' };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    return;
  }
  response.setHeader('content-type', 'text/html');
  response.end(`<!doctype html><title>Who are you?</title><form method="post" action="/interaction/${details.uid}">
    <input name="login" autofocus><button>Log in</button></form>`);
}

const server = createServer((request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/asked') {
    response.end(JSON.stringify(asked));
    return;
  }
  if (path === '/told') {
    response.end(JSON.stringify(told));
    return;
  }
  asked[path] = (asked[path] ?? 0) + 1;
  const written = readFileSync(keyFile, 'utf8');
  if (written !== known) {
    provider = make(`http://127.0.0.1:${server.address().port}`, JSON.parse(written));
    handle = provider.callback();
    known = written;
  }
  if (path.startsWith('/interaction/')) {
    interact(request, response).catch((error) => { response.statusCode = 500; response.end(String(error.stack)); });
    return;
  }
  handle(request, response);
});
server.listen(0, '127.0.0.1', () => {
  writeFileSync(`${portFile}.new`, String(server.address().port));
  renameSync(`${portFile}.new`, portFile);
});
process.stdin.on('end', () => process.exit(0)).resume();
