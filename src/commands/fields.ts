/** One field of a map in a reply: its name, then its value. */
import type { ReplyWriter } from '../resp/writer.ts';

export function textField(out: ReplyWriter, name: string, value: string): void {
  out.bulkText(name);
  out.bulkText(value);
}

export function integerField(out: ReplyWriter, name: string, value: number): void {
  out.bulkText(name);
  out.integer(value);
}
