/** A process of the application, started and listening. */
import { BreakwaterError } from '../../base/errors.ts';
import { type Child, type Children, modulePath } from '../children/children.ts';
import type { ServiceMessage } from './child-server.ts';
import type { ServiceOptions } from './service.ts';

const SERVICE_TIMEOUT_MS = 60_000;

/** @param path of the module, which is told the options and says when it listens */
export async function startService(
  children: Children,
  options: ServiceOptions,
  path = modulePath('./service', import.meta.url),
): Promise<{ child: Child; port: number }> {
  const child = children.startNode(path, [], { label: 'the HTTP service' });
  const message = await new Promise<ServiceMessage>((resolve, reject) => {
    const timer = setTimeout(() => reject(child.failure('did not come up')), SERVICE_TIMEOUT_MS);
    child.process.once('message', (received) => {
      clearTimeout(timer);
      resolve(received as ServiceMessage);
    });
    void child.exited.then(() => {
      clearTimeout(timer);
      reject(child.failure('ended before it was ready'));
    });
    child.process.send(options);
  });
  if (message.kind === 'failed') throw new BreakwaterError('DEMO_SERVICE', message.message);
  return { child, port: message.port };
}
