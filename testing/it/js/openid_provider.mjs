// A certified OpenID provider on loopback, for the tests: signs access tokens (RFC 9068) for client credentials. Tokens of the client `bound`
// are bound to the certificate (RFC 8705) that a proxy in front of a real provider would tell of: base64 of its DER in `x-client-certificate`.
//
// Arguments: the file to write the port to, the folder of the packages, and a file with its private keys (a JSON Web Key Set) and the name of
// its algorithm. Another content of that file is taken with the next request. `/asked` tells how often each document was asked for. Ends
// when its standard input does: so it cannot outlive the tests.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { X509Certificate, createPublicKey } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const [portFile, modules, keyFile] = process.argv.slice(2);
const { Provider, errors } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`).href);
const { calculateJwkThumbprint, createLocalJWKSet, jwtVerify } = await import(pathToFileURL(`${modules}/jose/dist/webapi/index.js`).href);

// The client `keyed` proves itself by the private key in the file `client.pem`, if that is there.
async function publicKeys() {
  const key = createPublicKey(readFileSync('client.pem')).export({ format: 'jwk' });
  return { keys: [{ ...key, kid: await calculateJwkThumbprint(key), alg: 'ES256', use: 'sig' }] };
}
const byKey = existsSync('client.pem')
  ? { client_secret: undefined, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks: await publicKeys() }
  : undefined;

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

function handler(issuer, { keys, algorithm }) {
  const signed = { audience: undefined, scope: 'orders:read orders:write', accessTokenFormat: 'jwt', jwt: { sign: { alg: algorithm } } };
  // Of one resource the tokens are opaque: whoever gets one has to ask here what it is.
  const opaque = { audience: 'https://opaque.test', scope: 'orders:read orders:write', accessTokenFormat: 'opaque' };
  const resource = (_, name) => (name === opaque.audience ? opaque : { ...signed, audience: name });
  const client = (client_id, more) => ({
    client_id,
    client_secret: 'only-for-tests',
    grant_types: ['client_credentials', EXCHANGE],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: algorithm,
    ...more,
  });
  const certificateOf = (ctx) => {
    const told = ctx.get('x-client-certificate');
    return told ? new X509Certificate(Buffer.from(told, 'base64')) : undefined;
  };
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [client('shop'), client('phone'), client('bound', { tls_client_certificate_bound_access_tokens: true }), ...(byKey ? [client('keyed', byKey)] : [])],
    features: {
      mTLS: { enabled: true, certificateBoundAccessTokens: true, getCertificate: certificateOf },
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: { enabled: true, getResourceServerInfo: resource },
      introspection: { enabled: true },
      revocation: { enabled: true },
    },
  });
  // Exchanges access tokens of its own (RFC 8693), but for the audience that nobody may have.
  const known = createLocalJWKSet({ keys: keys.map(({ d, p, q, dp, dq, qi, ...shown }) => shown) });
  const exchange = async (ctx) => {
    const { subject_token: token, subject_token_type: type, audience, scope } = ctx.oidc.params;
    if (type !== 'urn:ietf:params:oauth:token-type:access_token') throw new errors.InvalidRequest('subject_token_type');
    const verified = await jwtVerify(token ?? '', known, { issuer, typ: 'at+jwt' }).catch(() => {
      throw new errors.InvalidRequest('subject_token');
    });
    if (audience === 'https://nobody.test') throw new errors.InvalidTarget();
    const given = new provider.AccessToken({ accountId: verified.payload.sub, client: ctx.oidc.client, scope });
    given.resourceServer = new provider.ResourceServer(audience, { ...signed, audience });
    const access_token = await given.save();
    ctx.body = { access_token, issued_token_type: type, token_type: 'Bearer', expires_in: given.expiration };
  };
  const params = ['subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'scope'];
  provider.registerGrantType(EXCHANGE, exchange, params);
  return provider.callback();
}

const asked = {};
let known = '';
let handle;
const server = createServer((request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/asked') {
    response.end(JSON.stringify(asked));
    return;
  }
  asked[path] = (asked[path] ?? 0) + 1;
  const written = readFileSync(keyFile, 'utf8');
  if (written !== known) {
    handle = handler(`http://127.0.0.1:${server.address().port}`, JSON.parse(written));
    known = written;
  }
  handle(request, response);
});
server.listen(0, '127.0.0.1', () => {
  writeFileSync(`${portFile}.new`, String(server.address().port));
  renameSync(`${portFile}.new`, portFile);
});
process.stdin.on('end', () => process.exit(0)).resume();
