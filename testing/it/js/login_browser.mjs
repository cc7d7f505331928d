// Logs in and out with Chromium, and tells what it saw as JSON.
//
// Arguments: the folder of the packages, the origin of the application, and another origin of the same site.
import { pathToFileURL } from 'node:url';

const [modules, origin, other] = process.argv.slice(2);
const { chromium } = await import(pathToFileURL(`${modules}/playwright-core/index.mjs`).href);
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--host-resolver-rules=MAP app.test 127.0.0.1', '--disable-background-networking'],
});
const context = await browser.newContext({ ignoreHTTPSErrors: true });
context.setDefaultTimeout(15000);
const page = await context.newPage();
const saw = {};

// Somebody opens a page, and is asked who they are.
const wanted = `${origin}/orders?page=2`;
await page.goto(wanted);
saw.asked = await page.title();
await page.fill('input[name=login]', 'alice');
await page.click('button');
await page.waitForURL(wanted);
saw.page = await page.title();
saw.cookies = (await context.cookies(origin)).map(({ name, secure, httpOnly, sameSite, path, domain }) =>
  ({ name, secure, httpOnly, sameSite, path, domain }));
saw.scripts = await page.evaluate(() => document.cookie);

// What the page may do.
saw.fetched = await page.evaluate(() => fetch('/pay', { method: 'POST', body: 'x=1' }).then((answer) => answer.status));
const socket = (url) => new Promise((done) => {
  const opened = new WebSocket(url);
  opened.onopen = () => { window.opened = opened; done('open'); };
  opened.onerror = () => done('refused');
});
saw.socket = await page.evaluate(socket, `${origin.replace('https', 'wss')}/ws`);
await page.click('#pay');
await page.waitForURL(`${origin}/pay`);
saw.form = await page.title();

// What a page of another origin may do, of the same site, so that the browser sends the cookie.
const foreign = await context.newPage();
await foreign.goto(`${other}/open`);
saw.foreign = await foreign.title();
const attempt = (method) => foreign.evaluate(([url, method]) => fetch(url, { method, mode: 'no-cors', credentials: 'include' }).then(() => 'sent'),
  [`${origin}/foreign`, method]).catch((error) => String(error));
saw.foreignPost = await attempt('POST');
saw.foreignSocket = await foreign.evaluate(socket, `${origin.replace('https', 'wss')}/ws`);

// Logging out, here and at the provider.
await page.goto(wanted);
await page.evaluate(socket, `${origin.replace('https', 'wss')}/ws`);
const ended = page.evaluate(() => new Promise((done) => { window.opened.onclose = () => done('closed'); }));
const program = await context.newPage();
await program.goto(wanted);
saw.out = await program.evaluate(() => fetch('/.portcullis/login/staff/logout', { method: 'POST', redirect: 'manual' }).then((answer) => answer.type));
saw.ended = await ended;
saw.program = await program.evaluate(() => fetch('/orders').then((answer) => answer.status));
saw.left = (await context.cookies(origin)).map(({ name }) => name);
// The provider still knows who it is: a page comes back without a question.
await page.goto(wanted);
saw.again = await page.title();
await page.click('#out');
await page.waitForURL(/\/session\/end/);
await page.locator('button[value=yes], button[autofocus]').first().click();
await page.waitForURL(/\/session\/end\/success/);
await page.goto(wanted);
saw.askedAgain = await page.title();
await browser.close();
console.log(JSON.stringify(saw));
