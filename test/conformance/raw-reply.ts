/** The bytes of one reply, as they came. */
import { connect } from 'node:net';
import { REPLY, ReplyParser } from '../../src/resp/reply-parser.ts';

const bulk = (text: string): string => `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
const request = (words: readonly string[]): string => `*${words.length}\r\n${words.map(bulk).join('')}`;

/** @throws Error when the server closes the connection, or says nothing for 30 s */
export async function rawReply(port: number, protocol: 2 | 3, command: readonly string[]): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  try {
    return await new Promise<string>((resolve, reject) => {
      let received = Buffer.alloc(0);
      socket.setTimeout(30_000, () => reject(new Error(`no reply to ${command.join(' ')}`)));
      socket.on('error', reject);
      socket.on('close', () => reject(new Error(`the connection was closed before ${command.join(' ')} was answered`)));
      socket.on('data', (chunk) => {
        received = Buffer.concat([received, chunk]);
        const ends = replyEnds(received);
        if (ends.length < 2) return;
        resolve(received.subarray(ends[0], ends[1]).toString('latin1'));
      });
      socket.write(request(['HELLO', String(protocol)]) + request(command));
    });
  } finally {
    socket.destroy();
  }
}

/** Where the first and the second reply end, as far as they are whole. */
function replyEnds(bytes: Buffer): number[] {
  const ends: number[] = [];
  for (let from = 0; ends.length < 2; ) {
    let end = -1;
    for (let to = from + 1; to <= bytes.length && end < 0; to += 1) {
      // Only behind a line end can a reply be whole.
      if (bytes[to - 1] !== 10) continue;
      const parser = new ReplyParser();
      parser.begin(bytes, from, to);
      if (parser.next() === REPLY) end = to;
    }
    if (end < 0) return ends;
    ends.push(end);
    from = end;
  }
  return ends;
}
