// A WebSocket client and an echo server with the npm package ws: peer.js FOLDER-OF-WS serve PORT | drive URL.
const { WebSocket, WebSocketServer } = require(process.argv[2]);
const { randomBytes } = require('crypto');
const { once } = require('events');
const maxPayload = 32 << 20;

function serve(port) {
  const server = new WebSocketServer({ host: '127.0.0.1', port, maxPayload, perMessageDeflate: true });
  server.on('connection', (ws) => {
    ws.on('error', () => {});
    ws.on('message', (data, isBinary) => {
      const text = isBinary ? '' : data.toString();
      if (text.startsWith('close ')) return ws.close(Number(text.slice(6)), 'as asked');
      ws.send(data, { binary: isBinary });
    });
  });
}

async function open(url) {
  const ws = new WebSocket(url, { maxPayload, perMessageDeflate: true });
  await once(ws, 'open');
  return ws;
}

async function drive(url) {
  const ws = await open(url);
  for (const message of ['', 'hello', 'ö'.repeat(70000), randomBytes(125), randomBytes(65536), randomBytes(16 << 20)]) {
    ws.send(message);
    const [data] = await once(ws, 'message');
    if (!data.equals(Buffer.from(message))) throw new Error(`a message of ${message.length}`);
  }
  ws.send('frag', { fin: false });
  ws.ping('there?');
  ws.send('men', { fin: false });
  ws.send('ted', { fin: true });
  const [[whole], [pong]] = await Promise.all([once(ws, 'message'), once(ws, 'pong')]);
  if (whole.toString() !== 'fragmented' || pong.toString() !== 'there?') throw new Error(`${whole} ${pong}`);
  ws.close(1000);
  await once(ws, 'close');
  for (const code of [1000, 1001, 1011, 3000, 4999]) {
    const c = await open(url);
    c.send(`close ${code}`);
    const [got] = await once(c, 'close');
    if (got !== code) throw new Error(`closed with ${got}, not ${code}`);
  }
  console.log('all messages came back');
}

const [, , , role, argument] = process.argv;
if (role === 'serve') serve(Number(argument));
else drive(argument).catch((e) => { console.error(e); process.exit(1); });
