// An application behind the gateway, for the tests: pages with forms, and WebSockets. `/seen` tells every Cookie field that it got.
//
// Arguments: the file to write the port to, and the folder of the packages. Ends when its standard input does.
import { createHash } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

const [portFile] = process.argv.slice(2);
const seen = [];
const page = `<!doctype html><title>Orders</title>
  <form method="post" action="/pay"><button id="pay">Pay</button></form>
  <form method="post" action="/.portcullis/login/staff/logout"><button id="out">Log out</button></form>`;
const server = createServer((request, response) => {
  if (request.url === '/seen') {
    response.end(JSON.stringify(seen));
    return;
  }
  seen.push(request.headers.cookie ?? '');
  response.setHeader('content-type', 'text/html');
  response.setHeader('set-cookie', 'theme=dark; Path=/');
  const title = request.url === '/open' ? '<!doctype html><title>Open</title>' : page;
  request.resume().on('end', () => response.end(request.method === 'POST' ? '<!doctype html><title>Paid</title>' : title));
});
server.on('upgrade', (request, socket) => {
  seen.push(request.headers.cookie ?? '');
  const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash('sha1').update(key).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on('error', () => {}).resume();
});
server.listen(0, '127.0.0.1', () => {
  writeFileSync(`${portFile}.new`, String(server.address().port));
  renameSync(`${portFile}.new`, portFile);
});
process.stdin.on('end', () => process.exit(0)).resume();
